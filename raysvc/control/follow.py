"""A job's events as they happen."""

from collections.abc import AsyncIterator

from raysvc.control.signal import POLL_S, Signals
from raysvc.domain.event import Event
from raysvc.ports import Jobs


async def follow_events(jobs: Jobs, signals: Signals, uid: str, *, after: int = 0) -> AsyncIterator[Event]:
    """Yield the events with seq > after; end when the job has ended and all are out. The caller has authorised."""
    while True:
        # The job is read before its events: an end that is seen here has its event among them.
        job = await jobs.get_by_uid(uid)
        for event in await jobs.events(uid, after=after):
            after = event.seq
            yield event
        if after >= job.version:
            if not job.live:
                return
            await signals.wait(uid, POLL_S)
