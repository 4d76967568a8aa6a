"""Services: deploy, look, change, roll back, delete, ask why; and what replicas and OpenAI clients ask for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from raysvc.api.auth import bearer, principal
from raysvc.api.body import read
from raysvc.api.context import platform
from raysvc.api.v1 import service_example, view
from raysvc.api.v1.caller import Caller, Calling, DryRun, known_query
from raysvc.api.v1.document import needs, ok, problems, takes
from raysvc.api.v1.service_view import (
    DeployedView,
    NewService,
    OpenAiModels,
    Rollback,
    ServiceUpdate,
    ServiceView,
    openai_models,
    service_view,
)
from raysvc.control.serving.desk import Receipt
from raysvc.control.serving.explain import ServiceExplanation
from raysvc.domain.event import Event
from raysvc.domain.replica import ReplicaOrders, ReplicaReport
from raysvc.domain.service import ReplicaScale, Service, ServiceName
from raysvc.errors import RaysvcError, Unauthenticated

router = APIRouter(tags=["services"], dependencies=[Depends(known_query)])

ServicePath = Annotated[ServiceName, Path(description="the service's name", examples=["chat"])]
AnyProject = Annotated[
    bool, Query(alias="all_projects", description="those of every project that the token sees, not of one")
]
_CHANGES = problems(409, 422, 429, write=True)


@router.get(
    "/services",
    summary="List services",
    responses={
        **ok(view.Items[ServiceView], "Oldest first.", example={"items": [service_example.SERVICE]}),
        **problems(),
    },
    openapi_extra=needs("viewer"),
)
async def list_services(call: Calling, *, all_projects: AnyProject = False) -> Response:
    """Return the services of the project."""
    found = await call.platform.services.find(call.who, None if all_projects else call.project)
    return view.listed([_view(call, service) for service in found])


@router.post(
    "/services",
    summary="Deploy a service",
    status_code=201,
    responses={
        **ok(DeployedView, "The service is accepted and on disk.", 201, {**service_example.SERVICE, "warnings": []}),
        **ok(DeployedView, "It was there just so, or a dry run's preview."),
        **_CHANGES,
    },
    openapi_extra=takes(NewService, example=service_example.NEW_SERVICE, role="member"),
)
async def deploy_service(request: Request, call: Calling, *, dry_run: DryRun = False) -> Response:
    """Accept a service: when this answers, it is durable. Its replicas start at once. May be repeated."""
    new = await read(request, NewService)
    receipt = await call.platform.services.deploy(call.who, call.project, new.name, new.spec, dry_run=dry_run)
    return _deployed(call, receipt, 201 if receipt.created and not dry_run else 200)


@router.get(
    "/services/{name}",
    summary="Get a service",
    responses={**ok(ServiceView, "The service as it is now.", example=service_example.SERVICE), **problems()},
    openapi_extra=needs("viewer"),
)
async def get_service(call: Calling, name: ServicePath) -> Response:
    """Return the service with the replicas that answer now."""
    return view.reply(_view(call, await call.platform.services.get(call.who, call.project, name)))


@router.put(
    "/services/{name}",
    summary="Update a service",
    responses={
        **ok(DeployedView, "The wish is on disk.", example={**service_example.SERVICE, "warnings": []}),
        **_CHANGES,
    },
    openapi_extra=takes(ServiceUpdate, example={"spec": service_example.NEW_SERVICE["spec"]}, role="member"),
)
async def update_service(request: Request, call: Calling, name: ServicePath, *, dry_run: DryRun = False) -> Response:
    """Ask for another spec: a new revision, which takes over once it is ready. The same spec changes nothing."""
    new = await read(request, ServiceUpdate)
    receipt = await call.platform.services.update(call.who, call.project, name, new.spec, dry_run=dry_run)
    return _deployed(call, receipt)


@router.post(
    "/services/{name}/scale",
    summary="Scale a service",
    responses={**ok(DeployedView, "The wish is on disk."), **_CHANGES},
    openapi_extra=takes(ReplicaScale, example={"min": 1, "max": 4}, role="member"),
)
async def scale_service(request: Request, call: Calling, name: ServicePath, *, dry_run: DryRun = False) -> Response:
    """Ask for another number of replicas. No revision is made, and no engine that runs is started anew."""
    replicas = await read(request, ReplicaScale)
    receipt = await call.platform.services.scale(call.who, call.project, name, replicas, dry_run=dry_run)
    return _deployed(call, receipt)


@router.post(
    "/services/{name}/rollback",
    summary="Roll a service back",
    responses={**ok(DeployedView, "The wish is on disk."), **_CHANGES},
    openapi_extra=takes(Rollback, example={"to": 2}, role="member"),
)
async def roll_back_service(request: Request, call: Calling, name: ServicePath, *, dry_run: DryRun = False) -> Response:
    """Go back to an earlier revision's spec, as a new revision; from one that is on its way, to the one that serves."""
    asked = await read(request, Rollback)
    receipt = await call.platform.services.rollback(call.who, call.project, name, asked.to, dry_run=dry_run)
    return _deployed(call, receipt)


@router.delete(
    "/services/{name}",
    summary="Delete a service",
    status_code=202,
    responses={
        **ok(ServiceView, "The wish is on disk.", 202),
        **ok(ServiceView, "A dry run: the service as it is."),
        **problems(507),
    },
    openapi_extra=needs("member"),
)
async def delete_service(call: Calling, name: ServicePath, *, dry_run: DryRun = False) -> Response:
    """Ask for the service's end. Its name is free once its replicas are gone. May be repeated."""
    service = await call.platform.services.delete(call.who, call.project, name, dry_run=dry_run)
    return view.reply(_view(call, service), 200 if dry_run else 202)


@router.get(
    "/services/{name}/explain",
    summary="Explain a service's phase",
    responses={**ok(ServiceExplanation, "Why it is in its phase, and what comes next."), **problems()},
    openapi_extra=needs("viewer"),
)
async def explain_service(call: Calling, name: ServicePath) -> Response:
    """Return the reason in sentences: what holds it, what happens by itself, what one can do."""
    return view.reply(await call.platform.services.explain(call.who, call.project, name))


@router.get(
    "/services/{name}/events",
    summary="Read a service's events",
    responses={**ok(view.Items[Event], "Oldest first."), **problems()},
    openapi_extra=needs("viewer"),
)
async def read_service_events(
    call: Calling,
    name: ServicePath,
    after: Annotated[int, Query(ge=0, le=2**53, description="only events with a larger `seq`")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """Return what happened to the service, by whom."""
    desk = call.platform.services
    service = await desk.get(call.who, call.project, name)
    return view.listed(await desk.events(call.who, service, after=after, limit=limit))


@router.get(
    "/services/{name}/logs",
    summary="Read or follow a service's output",
    responses={
        200: {"description": "What its replicas write.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(409),
    },
    openapi_extra=needs("viewer"),
)
async def read_service_logs(
    request: Request,
    call: Calling,
    name: ServicePath,
    offset: Annotated[int, Query(ge=0, le=2**53, description="in bytes")] = 0,
    *,
    follow: Annotated[bool, Query(description="stay and send what comes, until the client goes")] = False,
) -> Response:
    """Return what the engines of its replicas write, from its beginning."""
    desk = call.platform.services
    service = await desk.get(call.who, call.project, name)
    source = desk.logs(call.who, service, offset=offset, follow=follow)
    headers = {"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "no-store"}
    return StreamingResponse(_until_stopping(request, source), headers=headers, media_type="text/plain; charset=utf-8")


@router.post(
    "/replicas/report",
    tags=["replicas"],
    summary="Report as a replica",
    responses={**ok(ReplicaOrders, "What the replica has to know."), **problems(413, 415, 507)},
    openapi_extra=takes(ReplicaReport, example=service_example.REPORT, role="replica"),
)
async def report_replica(request: Request) -> Response:
    """Take a replica's report. It is opened by the token of its service's replicas, and by nothing else."""
    secret = bearer(request.headers)
    if secret is None:
        raise Unauthenticated("A replica reports with the token of its service.")
    report = await read(request, ReplicaReport)
    return view.reply(await platform(request).replicas.report(secret, report))


@router.get(
    "/models",
    tags=["openai"],
    summary="List models",
    responses={**ok(OpenAiModels, "In OpenAI's shape."), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_models(request: Request) -> Response:
    """Return the models that serve and that an inference key opens, which may ask for nothing else here, or a token."""
    here, secret = platform(request), bearer(request.headers)
    services = await here.store.services.live()
    key = await here.keys.recognise(secret) if secret is not None else None
    if key is not None:
        found = [it for it in services if it.project == key.project and key.opens(it.id)]
    else:
        who = await principal(request)
        found = [it for it in services if who.sees(it.project)]
    return view.reply(openai_models(tuple(it for it in found if it.serving and not it.stop_requested)))


async def _until_stopping(request: Request, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    # Not by looking after each chunk: the log of a service that nobody asks is silent.
    stopping = asyncio.create_task(request.app.state.stopping.wait())
    upcoming: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            upcoming = asyncio.create_task(_next(source))
            await asyncio.wait({upcoming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not upcoming.done() or (chunk := upcoming.result()) is None:
                return
            yield chunk
    finally:
        stopping.cancel()
        if upcoming is not None:
            upcoming.cancel()
            with contextlib.suppress(asyncio.CancelledError, RaysvcError):
                await upcoming


async def _next(source: AsyncIterator[bytes]) -> bytes | None:
    return await anext(source, None)


def _view(call: Caller, service: Service) -> ServiceView:
    edge = call.platform.edge
    url = None if edge is None else f"{edge.url}/v1"
    return service_view(service, call.platform.services.replicas(service), url)


def _deployed(call: Caller, receipt: Receipt, status: int = 200) -> Response:
    fields: dict[str, Any] = dict(_view(call, receipt.service))
    body = DeployedView.model_construct(**fields, warnings=receipt.warnings, rendered=receipt.rendered)
    headers = {"Location": f"/v1/services/{receipt.service.id}?project={receipt.service.project}"}
    return view.reply(body, status, headers if status == 201 else None)  # noqa: PLR2004 HTTP's created
