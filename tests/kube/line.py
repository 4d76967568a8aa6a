"""The line from a raysvc to its API server, to be cut and mended."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import yaml

T = TypeVar("T")
_CHUNK = 1 << 16


class Line:
    """A TCP relay on a port of localhost, which the API server's certificate names. A context manager."""

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self._to = (str(there.hostname), int(there.port or 443))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line")
        self._relays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._whole = True

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accept, "127.0.0.1", 0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break what is connected, and whatever connects from now on."""
        self._do(self._break())

    def mend(self) -> None:
        self._whole = True

    def kubeconfig(self, original: Path, folder: Path) -> Path:
        """Return that kubeconfig, by way of this line."""
        assert self._server is not None
        config = yaml.safe_load(original.read_text())
        for each in config["clusters"]:
            each["cluster"]["server"] = f"https://localhost:{self._server.sockets[0].getsockname()[1]}"
        file = folder / "line.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(config))
        return file

    def _do(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _break(self) -> None:
        self._whole = False
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._break()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.create_task(self._relay(reader, writer))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close, writer)
            if not self._whole:
                return
            there, back = await asyncio.open_connection(*self._to)
            stack.push_async_callback(_close, back)
            with contextlib.suppress(OSError):
                await asyncio.gather(_pour(reader, back), _pour(there, writer))


async def _pour(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
    while chunk := await source.read(_CHUNK):
        to.write(chunk)
        await to.drain()
    if to.can_write_eof():
        to.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
