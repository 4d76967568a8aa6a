"""For probes and Prometheus. `/healthz` and `/readyz` are open and say nothing of anybody's work.

`/metrics` takes any valid token, of any role and project (Prometheus: `authorization: {credentials_file: …}`): its
numbers are of the whole platform and name no project, job or person.
"""

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import Response

from raysvc.api.auth import principal
from raysvc.api.context import platform
from raysvc.api.v1.document import needs, ok, problems
from raysvc.api.v1.view import reply
from raysvc.control.metric import REGISTRY
from raysvc.errors import RaysvcError

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process lives."""

    status: str = "ok"


class Readiness(BaseModel):
    """`status` is ok where the store answers: submissions are taken. `clusters` says where they could run now.

    `role` is `leader` for the server that starts and stops jobs, `standby` for one that would take over.
    """

    status: str
    store: str
    role: str
    clusters: dict[str, str]


@router.get("/healthz", summary="Is the process alive?", responses={**ok(Health, "Yes."), **problems()})
async def healthz() -> Response:
    """Answer as long as the process serves at all."""
    return reply(Health())


@router.get(
    "/readyz",
    summary="Can it take work?",
    responses={**problems(), **ok(Readiness, "The store answers."), **ok(Readiness, "The store does not answer.", 503)},
)
async def readyz(request: Request) -> Response:
    """Say whether submissions are taken. Ray need not be up for that: they wait."""
    here = platform(request)
    role = "leader" if here.leads else "standby"
    try:
        await here.store.flags.get("readyz")
    except RaysvcError:
        return reply(Readiness(status="unavailable", store="unavailable", role=role, clusters={}), 503)
    try:
        clusters = {cluster.name: str(cluster.phase) for cluster in await here.backend.clusters.list()}
    except RaysvcError:
        clusters = {}
    return reply(Readiness(status="ok", store="ok", role=role, clusters=clusters))


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    responses={
        200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problems(),
    },
    openapi_extra=needs("viewer"),
)
async def metrics(request: Request) -> Response:
    """Return the platform's counters, gauges and histograms."""
    await principal(request)
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
