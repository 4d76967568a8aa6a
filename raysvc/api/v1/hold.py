"""A reply that waits until there is news: `Prefer: wait=SECONDS` (RFC 7240) beside the ETag that the client has."""

import asyncio
import re
from typing import Any

from fastapi import Request

from raysvc.api.v1.caller import Caller
from raysvc.control.signal import POLL_S
from raysvc.domain.job import Job

# The longest that a reply waits, seconds: below the idle timeout of usual proxies (30 to 60 s).
LONGEST_S = 20
_WAIT = re.compile(r"(?:^|[,;\s])wait=(?P<seconds>\d{1,6})(?:$|[,;\s])")
PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "example": "wait=10",
        "description": f"`wait=SECONDS`, at most {LONGEST_S}: with If-None-Match, answer on a change, or then",
    },
    {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "description": "with `Prefer: wait`: the ETag of the job as the client knows it",
    },
]


def etag(job: Job) -> str:
    """Return what names the job's record as it is now. Weak: a live reason or place may change without it."""
    return f'W/"{job.version}"'


async def changed(request: Request, call: Caller, job_id: str) -> Job:
    """Return the job once its ETag is not the one that the client knows, it has ended, or the wait is over.

    At once where the client asks for no wait. Raises NotFound, also for a job that is deleted meanwhile.
    """
    job = await call.job(job_id)
    asked = _WAIT.search(request.headers.get("prefer", "").lower())
    known = request.headers.get("if-none-match")
    if asked is None or known is None:
        return job
    loop = asyncio.get_running_loop()
    ends = loop.time() + min(LONGEST_S, int(asked["seconds"]))
    while job.live and etag(job) == known and not request.app.state.stopping.is_set():
        left = ends - loop.time()
        if left <= 0 or await request.is_disconnected():
            break
        # Another process may be the one that changes it, and tells nobody here.
        await call.platform.signals.wait(job.uid, min(left, POLL_S))
        job = await call.job(job_id)
    return job
