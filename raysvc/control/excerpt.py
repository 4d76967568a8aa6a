"""A piece of a job's log, by byte offset: what a client reads that comes back for more."""

from typing import NamedTuple

from raysvc.control.logbook import LogReader
from raysvc.domain.job import Job
from raysvc.errors import NotFound


class Window(NamedTuple):
    """What is asked for. A negative offset counts from the end; `attempt` None means the log of all attempts."""

    offset: int
    limit: int
    attempt: int | None = None


class Excerpt(NamedTuple):
    """`next_offset` is where to go on; `complete`: nothing will ever come after it."""

    data: bytes
    next_offset: int
    complete: bool


async def excerpt(logs: LogReader, job: Job, window: Window) -> Excerpt:
    """Return that piece of the log as it is now; raises NotFound for an attempt that there was not."""
    if window.attempt is None:
        start, end = 0, await logs.size(job)
    elif 1 <= window.attempt <= job.attempt:
        start, end = await logs.span(job, window.attempt)
    else:
        raise NotFound(f"Job {job.id} has no attempt {window.attempt}; it has had {job.attempt}.")
    first = start + window.offset if window.offset >= 0 else max(start, end + window.offset)
    first = min(first, end)
    length = min(window.limit, end - first)
    data = b""
    if length:
        chunks, seen = [], 0
        async for chunk in logs.read(job, offset=first):
            chunks.append(chunk)
            seen += len(chunk)
            if seen >= length:
                break
        data = b"".join(chunks)[:length]
    ended = not job.live or (window.attempt is not None and window.attempt < job.attempt)
    return Excerpt(data, first - start + len(data), ended and first + len(data) == end)
