r"""A driver's or an engine's output, by byte offset, from its file on this machine.

Ray's own tail sleeps a second at a time, begins at byte 0 and rewrites `\r`; the file is what the driver wrote.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from raysvc.backends.local.beneath import open_below
from raysvc.backends.rayjob.restlog import Ended
from raysvc.ports import Clock

_CHUNK = 1 << 18
# A look is an fstat, which costs microseconds.
_FILE_POLL_S = 0.1
# In so many looks that find nothing new, the cluster is asked once whether the attempt has ended.
_ENDED_POLLS = 5


class FileLog:
    """A log as a file `name`, in the first of `folders` that has one; it need not be there yet."""

    def __init__(self, folders: Callable[[], list[Path]], name: str, clock: Clock) -> None:
        self._folders = folders
        self._name = name
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
