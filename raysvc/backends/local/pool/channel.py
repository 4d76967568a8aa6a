"""One connection to a pool: requests and replies, and the news that it sends. See `raysvc.backends.local.warm`."""

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from raysvc.errors import Unavailable

# A reply takes a millisecond, but for the first Python entrypoint: the pool imports ray before it (about 1 s).
REPLY_S = 15.0
_LONGEST_LINE = 1 << 20


class Channel:
    """`on_news` hears the name of each run that has begun or ended, and of all that ran when the line breaks."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_news: Callable[[str], None]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_news = on_news
        self._numbers = itertools.count(1)
        self._replies: dict[int, asyncio.Future[list[str]]] = {}
        self._running: set[str] = set()
        self._task = asyncio.create_task(self._listen(), name="warm pool")

    @classmethod
    async def open(cls, folder: Path, on_news: Callable[[str], None]) -> "Channel | None":
        """Return a channel to the pool of that folder, None where nobody listens. Raises Unavailable."""
        try:
            async with asyncio.timeout(REPLY_S):
                with _socket(folder) as path:
                    streams = await asyncio.open_unix_connection(path, limit=_LONGEST_LINE)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"The pool of warm drivers does not answer ({type(error).__name__}).") from error
        channel = cls(*streams, on_news)
        try:
            channel._running |= set(await channel.ask("list"))
        except BaseException:
            await channel.close()
            raise
        return channel

    @property
    def alive(self) -> bool:
        return not self._task.done()

    def runs(self, ident: str) -> bool:
        """Tell whether the run is known to run, as of the last news."""
        return self.alive and ident in self._running

    async def ask(self, do: str, **rest: Any) -> list[str]:
        """Send a request and return its reply. Raises Unavailable; what is not answered is not carried out later."""
        number, reply = next(self._numbers), asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        try:
            if not self.alive:
                raise ConnectionResetError("it has ended")
            if do == "run":
                self._running.add(rest["run"]["id"])
            self._writer.write(json.dumps({"n": number, "do": do, **rest}).encode() + b"\n")
            await self._writer.drain()
            async with asyncio.timeout(REPLY_S):
                found: list[str] = await reply
                return found
        except (OSError, TimeoutError) as error:
            await self.close()
            why = str(error) or type(error).__name__
            raise Unavailable(f"The pool of warm drivers does not answer: {why}.") from error
        finally:
            del self._replies[number]

    async def close(self) -> None:
        """Hang up. May be repeated."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                self._hear(json.loads(line))
        except (OSError, ValueError, RecursionError):
            pass  # broken, or no pool that speaks: either way the line is of no use
        finally:
            self._writer.close()
            for reply in self._replies.values():
                if not reply.done():
                    reply.set_exception(ConnectionResetError("it has ended"))
            for ident in self._running:
                self._on_news(ident)

    def _hear(self, message: Any) -> None:
        """Take a message. It comes from the jobs' user, so it may be anything."""
        if not isinstance(message, dict):
            raise ValueError("a message is an object")  # noqa: TRY004 a line that is of no use
        if (ident := message.get("news")) is not None:
            if message.get("ended"):
                self._running.discard(str(ident))
            self._on_news(str(ident))
            return
        number = message.get("n")
        reply = self._replies.get(number) if isinstance(number, int) else None
        if reply is None or reply.done():
            return
        found = message.get("ok")
        if isinstance(found, list):
            reply.set_result([str(item) for item in found])
        else:
            said = str(message.get("error"))[:1000]
            reply.set_exception(Unavailable(f"The pool of warm drivers refuses: {said}"))


@contextlib.contextmanager
def _socket(folder: Path) -> Iterator[str]:
    """Yield a path to the folder's socket that is short enough: the system takes 107 bytes, and folders have more."""
    if sys.platform != "linux":
        yield str(folder / "socket")
        return
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/socket"
    finally:
        os.close(descriptor)
