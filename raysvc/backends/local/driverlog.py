r"""A driver's output, by byte offset: from Ray's session folder where that is on this machine, else over REST.

Ray's own tail sleeps a second at a time, begins at byte 0 and rewrites `\r`; the file is what the driver wrote.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

from raysvc.backends.local.beneath import open_below
from raysvc.backends.local.session import Session
from raysvc.domain.job import JobRef
from raysvc.ports import Clock

_CHUNK = 1 << 18
# A file is looked at by fstat, which costs microseconds; over REST it is fetched as a whole.
_FILE_POLL_S = 0.1
_REST_POLL_S = 1.0
# In so many looks that find nothing new, the cluster is asked once whether the attempt has ended.
_ENDED_POLLS = 5

Ended = Callable[[], Awaitable[bool]]


def log_name(ref: JobRef) -> str:
    """Return the name of an attempt's driver log (JOB_LOGS_PATH_TEMPLATE in ray/dashboard/modules/job/common.py)."""
    return f"job-driver-{ref.name}.log"


class FileLog:
    """An attempt's log as a file, in the first of `folders` that has one; it need not be there yet."""

    def __init__(self, folders: Callable[[], list[Path]], ref: JobRef, clock: Clock) -> None:
        self._folders = folders
        self._name = log_name(ref)
        self._clock = clock

    async def read(self, offset: int, ended: Ended | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset`; with `ended`, those that come too, until it has ended and all is read."""
        descriptor: int | None = None
        over, polls = ended is None, 0
        try:
            while True:
                descriptor = self._open() if descriptor is None else descriptor
                while descriptor is not None and os.fstat(descriptor).st_size > offset:
                    chunk = await asyncio.to_thread(os.pread, descriptor, _CHUNK, offset)
                    offset += len(chunk)
                    yield chunk
                if over or ended is None:
                    return
                if polls % _ENDED_POLLS == 0:
                    over = await ended()
                polls += 1
                # After the end too: Ray writes why a job failed to start after it has marked it as failed.
                await self._clock.sleep(_FILE_POLL_S)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _open(self) -> int | None:
        for folder in self._folders():
            try:
                return open_below(folder, self._name)
            except OSError:
                continue
        return None


class RestLog:
    """An attempt's log on another machine. Ray's API has no offset, so each look fetches it from its beginning."""

    def __init__(self, session: Session, ref: JobRef, clock: Clock) -> None:
        self._session = session
        self._ref = ref
        self._clock = clock

    async def read(self, offset: int, ended: Ended | None) -> AsyncGenerator[bytes, None]:
        """As FileLog.read. Raises Unavailable."""
        over = ended is None
        while True:
            position = 0
            async with aclosing(await self._fetch()) as chunks:
                async for chunk in chunks:
                    position += len(chunk)
                    if position > offset:
                        fresh = chunk[offset - position :]
                        offset = position
                        yield fresh
            if over or ended is None:
                return
            over = await ended()
            await self._clock.sleep(_REST_POLL_S)

    async def _fetch(self) -> AsyncGenerator[bytes, None]:
        record = await self._session.api.job(self._ref.name) or {}
        node = record.get("driver_node_id") or self._session.head_node
        return self._session.api.log_file(node, log_name(self._ref))
