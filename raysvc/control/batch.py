"""Many submissions at once, each accepted or refused on its own."""

import asyncio
from collections.abc import Sequence

import structlog

from raysvc.control.intake import Intake, Receipt, Submission
from raysvc.domain.access import Principal
from raysvc.errors import RaysvcError

log = structlog.get_logger()


async def submit_each(
    intake: Intake, principal: Principal, submissions: Sequence[Submission]
) -> list[Receipt | RaysvcError]:
    """Submit all, side by side so that the store commits them together; return what became of each, in order."""
    results = await asyncio.gather(
        *(intake.submit(principal, submission) for submission in submissions), return_exceptions=True
    )
    return [_outcome(result) for result in results]


def _outcome(result: Receipt | BaseException) -> Receipt | RaysvcError:
    if isinstance(result, Receipt | RaysvcError):
        return result
    if not isinstance(result, Exception):
        raise result
    # One that nobody foresaw is told of as such, while the others of the batch stay accepted.
    log.error("submission failed", exc_info=result)
    return RaysvcError("The submission failed inside the server.")
