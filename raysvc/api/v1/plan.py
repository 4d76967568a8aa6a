"""The ways to run a model, worked out by the server: from its catalogue, or a model's files behind a URL."""

import asyncio
import importlib
from functools import partial
from threading import BoundedSemaphore
from typing import Any, cast

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from raysvc.api.body import read
from raysvc.api.context import settings
from raysvc.api.v1 import view
from raysvc.api.v1.caller import Calling, known_query
from raysvc.api.v1.document import ok, problems, takes
from raysvc.domain import access
from raysvc.domain.access import Resource, Verb
from raysvc.domain.plan import Plan, PlanRequest
from raysvc.domain.pool import Pool
from raysvc.errors import OverLimit
from raysvc.sources.access import Access

router = APIRouter(tags=["services"], dependencies=[Depends(known_query)])

_AT_ONCE = 4
_seats = BoundedSemaphore(_AT_ONCE)
_EXAMPLE: dict[str, Any] = {"model": "Qwen/Qwen3-32B", "gpu": "H100", "concurrency": 16}


@router.post(
    "/services/plan",
    summary="Plan a model",
    responses={
        **ok(Plan, "The ways to run it, what fits and is cheapest first."),
        **problems(413, 415, 429),
    },
    openapi_extra=takes(PlanRequest, example=_EXAMPLE, role="viewer"),
)
async def plan_model(request: Request, call: Calling) -> Response:
    """Say how a model can be run: does it fit, with which flags, how fast does it start, what does it cost.

    `model` is a name of the catalogue, or hf://, s3://, https://; a path on the server's own disk is for its admins.
    """
    asked = await read(request, PlanRequest)
    access.authorise(call.who, Verb.READ, Resource.PROJECT, call.project)
    await call.platform.store.projects.get(call.project)
    unknown = asked.pool is not None and all(pool.name != asked.pool for pool in asked.pools)
    pool = await call.platform.pools.get(call.who, asked.pool) if unknown and asked.pool else None
    asked = asked.model_copy(update={"today": asked.today or call.platform.clock.now().date()})
    # The platform's admins run the server, so that its disk is theirs to look at.
    work = partial(_plan, asked, pool, settings(request).models, own_disk=call.who.platform_admin)
    return view.reply(await asyncio.to_thread(work))


def _plan(asked: PlanRequest, pool: Pool | None, models: Access, *, own_disk: bool) -> Plan:
    """Make the plan. The seat is taken and given back here, where the work is, whether or not anybody waits for it."""
    if not _seats.acquire(blocking=False):
        raise OverLimit(f"{_AT_ONCE} plans are being made; try again in a moment.", rule="plans_at_once")
    try:
        planning = importlib.import_module("raysvc.api.v1.planning")
        if not own_disk:
            planning.check_place(asked.model)
        return cast("Plan", planning.make(asked, pool, models))
    finally:
        _seats.release()
