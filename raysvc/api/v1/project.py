"""Projects, their limits, and their secrets."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from raysvc.api.body import read
from raysvc.api.v1 import example, view
from raysvc.api.v1.caller import Calling, DryRun, Visiting, known_query
from raysvc.api.v1.document import needs, ok, problems, takes
from raysvc.domain.model import EnvName, Name
from raysvc.domain.project import Limits, Project, Secret

router = APIRouter(tags=["projects"], dependencies=[Depends(known_query)])

ProjectName = Annotated[Name, Path(description="the project", examples=["research"])]
SecretName = Annotated[EnvName, Path(description="the secret's name", examples=["HF_TOKEN"])]


@router.get(
    "/projects",
    summary="List projects",
    responses={**ok(view.Items[Project], "Those that the token sees."), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_projects(visit: Visiting) -> Response:
    """Return the projects that the token sees, by name."""
    return view.listed(await visit.platform.projects.find(visit.who))


@router.post(
    "/projects",
    summary="Make a project",
    status_code=201,
    responses={
        **ok(Project, "The new project.", 201, example.PROJECT),
        **ok(Project, "A dry run: the project that would be."),
        **problems(409, write=True),
    },
    openapi_extra=takes(
        view.NewProject, example={"name": "research", "limits": {"max_gpus": 8}}, role="platform admin"
    ),
)
async def create_project(request: Request, visit: Visiting, *, dry_run: DryRun = False) -> Response:
    """Make a project. Only the platform's admin may."""
    new = await read(request, view.NewProject)
    project = await visit.platform.projects.create(visit.who, new.name, new.limits, dry_run=dry_run)
    return view.reply(project, 200 if dry_run else 201)


@router.get(
    "/projects/{name}",
    summary="Get a project",
    responses={**ok(Project, "The project.", example=example.PROJECT), **problems()},
    openapi_extra=needs("viewer"),
)
async def get_project(visit: Visiting, name: ProjectName) -> Response:
    """Return the project with its limits."""
    return view.reply(await visit.platform.projects.get(visit.who, name))


@router.put(
    "/projects/{name}/limits",
    summary="Set a project's limits",
    responses={**ok(Project, "The project.", example=example.PROJECT), **problems(write=True)},
    openapi_extra=takes(Limits, example={"max_running_jobs": 4, "max_gpus": 8}, role="platform admin"),
)
async def put_limits(request: Request, visit: Visiting, name: ProjectName, *, dry_run: DryRun = False) -> Response:
    """Replace the project's limits, all of them: one left out means no limit. May be repeated."""
    limits = await read(request, Limits)
    return view.reply(await visit.platform.projects.limit(visit.who, name, limits, dry_run=dry_run))


@router.get(
    "/secrets",
    summary="List secrets",
    responses={**ok(view.Items[Secret], "Names and times, no values."), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_secrets(call: Calling) -> Response:
    """Return the project's secrets, without their values."""
    return view.listed(await call.platform.secrets.find(call.who, call.project))


@router.put(
    "/secrets/{name}",
    summary="Set a secret",
    responses={**ok(Secret, "Its public half.", example=example.SECRET), **problems(write=True)},
    openapi_extra=takes(view.SecretValue, example={"value": "hf_…"}, role="admin"),
)
async def put_secret(request: Request, call: Calling, name: SecretName, *, dry_run: DryRun = False) -> Response:
    """Keep a secret, encrypted, replacing an earlier value. May be repeated. Jobs name it; the value never returns."""
    body = await read(request, view.SecretValue)
    return view.reply(await call.platform.secrets.put(call.who, call.project, name, body.value, dry_run=dry_run))


@router.delete(
    "/secrets/{name}",
    summary="Delete a secret",
    status_code=204,
    responses={
        204: {"description": "It is gone."},
        **ok(Secret, "A dry run: the secret that would go."),
        **problems(507),
    },
    openapi_extra=needs("admin"),
)
async def delete_secret(call: Calling, name: SecretName, *, dry_run: DryRun = False) -> Response:
    """Forget a secret. Jobs that name it fail when they start."""
    secret = await call.platform.secrets.delete(call.who, call.project, name, dry_run=dry_run)
    return view.reply(secret) if dry_run else Response(status_code=204)
