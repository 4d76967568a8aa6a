"""Inference keys, and what was used with them."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from raysvc.api.body import read
from raysvc.api.v1 import view
from raysvc.api.v1.caller import Calling, DryRun, known_query
from raysvc.api.v1.document import needs, ok, problems, takes
from raysvc.domain.key import IssuedKey, Key, NewKey, UsageBy, UsagePeriod, UsageTotal

router = APIRouter(tags=["keys"], dependencies=[Depends(known_query)])

_NEW: dict[str, Any] = {"name": "chat frontend", "services": ["llama"], "requests_per_minute": 600}
_KEY: dict[str, Any] = {
    **_NEW,
    "tokens_per_minute": None,
    "budget_tokens": 50_000_000,
    "expires_at": None,
    "id": "01jm5w3k4vq8x2ab",
    "project": "research",
    "owner": "ada",
    "created_at": "2026-01-31T12:00:00Z",
    "revoked_at": None,
    "revoked_by": None,
}
_USED: dict[str, Any] = {
    "of": "llama",
    "requests": 1200,
    "failed": 3,
    "prompt_tokens": 840_000,
    "completion_tokens": 310_000,
    "estimated_tokens": 0,
}
KeyId = Annotated[str, Path(max_length=128, description="the key's id", examples=["01jm5w3k4vq8x2ab"])]
Day = Annotated[date | None, Query(description="a day, UTC, included", examples=["2026-01-31"])]


@router.get(
    "/keys",
    summary="List inference keys",
    responses={**ok(view.Items[Key], "Oldest first, without secrets.", example={"items": [_KEY]}), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_keys(call: Calling) -> Response:
    """Return the project's inference keys, those that are revoked or have expired, too."""
    return view.listed(await call.platform.keys.find(call.who, call.project))


@router.post(
    "/keys",
    summary="Make an inference key",
    status_code=201,
    responses={
        **ok(IssuedKey, "The key and its secret, shown this once.", 201, {"key": _KEY, "secret": "rsk-…"}),
        **ok(IssuedKey, "A dry run: the key that would be, without a secret."),
        **problems(write=True),
    },
    openapi_extra=takes(NewKey, example=_NEW, role="admin"),
)
async def create_key(request: Request, call: Calling, *, dry_run: DryRun = False) -> Response:
    """Make an inference key for the project's services. OpenAI clients send it as their API key."""
    key, secret = await call.platform.keys.create(call.who, call.project, await read(request, NewKey), dry_run=dry_run)
    issued = IssuedKey(key=key, secret=secret)
    return view.reply(issued, 200 if dry_run else 201, {"Cache-Control": "no-store"})


@router.delete(
    "/keys/{key_id}",
    summary="Revoke an inference key",
    status_code=204,
    responses={
        204: {"description": "Within 5 s it opens nothing any more."},
        **ok(Key, "A dry run: the key as it would be."),
        **problems(507),
    },
    openapi_extra=needs("admin"),
)
async def revoke_key(call: Calling, key_id: KeyId, *, dry_run: DryRun = False) -> Response:
    """End a key. Requests that it began are answered. May be repeated."""
    key = await call.platform.keys.revoke(call.who, call.project, key_id, dry_run=dry_run)
    return view.reply(key) if dry_run else Response(status_code=204)


@router.get(
    "/usage",
    summary="Get a project's usage",
    responses={
        **ok(view.Items[UsageTotal], "What was used, in the order of `of`.", example={"items": [_USED]}),
        **problems(),
    },
    openapi_extra=needs("viewer"),
)
async def get_usage(call: Calling, by: UsageBy = UsageBy.KEY, since: Day = None, until: Day = None) -> Response:
    """Return the tokens that the project's keys have used, by key, service or day: each ended request once."""
    period = UsagePeriod(since=since, until=until)
    return view.listed(await call.platform.usage.find(call.who, call.project, by, period))
