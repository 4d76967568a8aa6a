"""The platform itself: tokens, the pause of admission, the loaded policies."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from raysvc.api.body import read
from raysvc.api.context import settings
from raysvc.api.v1 import example, view
from raysvc.api.v1.caller import DryRun, Visiting, known_query
from raysvc.api.v1.document import needs, ok, problems, takes
from raysvc.control.floor import AdmissionState
from raysvc.control.issue import Grant
from raysvc.domain.project import Token

router = APIRouter(tags=["platform"], dependencies=[Depends(known_query)])


@router.post(
    "/tokens",
    summary="Make a token",
    status_code=201,
    responses={
        **ok(view.IssuedToken, "The token and its secret, shown this once.", 201, example.TOKEN),
        **ok(view.IssuedToken, "A dry run: the token that would be, without a secret."),
        **problems(write=True),
    },
    openapi_extra=takes(
        view.NewToken, example={"role": "member", "owner": "ada", "projects": ["research"]}, role="admin"
    ),
)
async def create_token(request: Request, visit: Visiting, *, dry_run: DryRun = False) -> Response:
    """Make a bearer token. A project's admin makes them for its own projects only."""
    new = await read(request, view.NewToken)
    grant = Grant(new.role, new.owner, new.projects, new.expires_at)
    token, secret = await visit.platform.tokens.issue(visit.who, grant, dry_run=dry_run)
    issued = view.IssuedToken(token=token, secret=secret)
    return view.reply(issued, 200 if dry_run else 201, {"Cache-Control": "no-store"})


@router.get(
    "/tokens",
    summary="List tokens",
    responses={**ok(view.Items[Token], "Newest first, without their secrets."), **problems()},
    openapi_extra=needs("admin"),
)
async def list_tokens(visit: Visiting) -> Response:
    """Return the tokens that the caller manages."""
    return view.listed(await visit.platform.tokens.find(visit.who))


@router.delete(
    "/tokens/{token_id}",
    summary="Revoke a token",
    status_code=204,
    responses={
        204: {"description": "It opens nothing any more, nor do browser sessions on it."},
        **ok(Token, "A dry run: the token as it would be."),
        **problems(409, 507),
    },
    openapi_extra=needs("admin"),
)
async def revoke_token(
    visit: Visiting, token_id: Annotated[str, Path(max_length=128)], *, dry_run: DryRun = False
) -> Response:
    """End a token. May be repeated."""
    token = await visit.platform.tokens.revoke(visit.who, token_id, dry_run=dry_run)
    return view.reply(token) if dry_run else Response(status_code=204)


@router.get(
    "/admission",
    summary="Get the state of admission",
    responses={**ok(AdmissionState, "Whether new work starts.", example=example.PAUSED), **problems()},
    openapi_extra=needs("viewer"),
)
async def get_admission(visit: Visiting) -> Response:
    """Return whether admission is paused, and why."""
    return view.reply(await visit.platform.floor.admission(visit.who))


@router.post(
    "/admission/pause",
    summary="Pause admission",
    responses={**ok(AdmissionState, "It is paused.", example=example.PAUSED), **problems(write=True)},
    openapi_extra=takes(view.Pause, example={"message": "nightly maintenance until 06:00 UTC"}, role="platform admin"),
)
async def pause_admission(request: Request, visit: Visiting, *, dry_run: DryRun = False) -> Response:
    """Start nothing new; what runs goes on, and submissions are taken and wait. May be repeated."""
    body = await read(request, view.Pause)
    return view.reply(await visit.platform.floor.pause(visit.who, body.message, dry_run=dry_run))


@router.post(
    "/admission/resume",
    summary="Resume admission",
    responses={**ok(AdmissionState, "It is open."), **problems(507)},
    openapi_extra=needs("platform admin"),
)
async def resume_admission(visit: Visiting, *, dry_run: DryRun = False) -> Response:
    """End the pause. May be repeated."""
    return view.reply(await visit.platform.floor.resume(visit.who, dry_run=dry_run))


@router.get(
    "/policies",
    summary="List policies",
    responses={**ok(view.Items[view.PolicyView], "In the order in which they review."), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_policies(visit: Visiting) -> Response:
    """Return the policies that review each submission."""
    return view.listed([view.PolicyView(name=name) for name in visit.platform.floor.policies(visit.who)])


@router.get(
    "/version",
    summary="Get the version",
    responses={**ok(view.VersionView, "What runs here."), **problems()},
    openapi_extra=needs("viewer"),
)
async def get_version(request: Request, _: Visiting) -> Response:
    """Return the server's version."""
    return view.reply(view.VersionView(version=settings(request).version))


@router.get(
    "/whoami",
    summary="Who am I?",
    responses={**ok(view.WhoView, "Who the token says you are."), **problems()},
    openapi_extra=needs("viewer"),
)
async def who_am_i(visit: Visiting) -> Response:
    """Return the caller's name, role and projects."""
    who = visit.who
    return view.reply(view.WhoView(name=who.name, role=who.role, projects=who.projects, token_id=who.token_id))
