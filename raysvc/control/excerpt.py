"""A piece of a job's log, by byte offset: what a client reads that comes back for more."""

from contextlib import aclosing
from typing import NamedTuple

from raysvc.control.logbook import LogReader
from raysvc.domain.job import Job
from raysvc.errors import NotFound

BLOCK = 1 << 16


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
        async with aclosing(logs.read(job, offset=first)) as pieces:
            async for chunk in pieces:
                chunks.append(chunk)
                seen += len(chunk)
                if seen >= length:
                    break
        data = b"".join(chunks)[:length]
    ended = not job.live or (window.attempt is not None and window.attempt < job.attempt)
    return Excerpt(data, first - start + len(data), ended and first + len(data) == end)


async def last_lines(logs: LogReader, job: Job, lines: int, most: int) -> int:
    """Return the offset where the last `lines` lines of the log begin, but at most `most` bytes before its end.

    Found from the end, a block at a time: neither a long log nor a wish for many lines is ever in memory.
    """
    size = await logs.size(job)
    floor, block_end, left = max(0, size - most), size, lines
    while block_end > floor:
        start = max(floor, block_end - BLOCK)
        data = (await excerpt(logs, job, Window(start, block_end - start))).data
        # The line end at the very end closes the last line and begins none.
        at = len(data) - (block_end == size and data.endswith(b"\n"))
        while (at := data.rfind(b"\n", 0, at)) >= 0:
            left -= 1
            if not left:
                return start + at + 1
        block_end = start
    return floor if lines else size
