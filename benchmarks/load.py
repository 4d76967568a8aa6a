"""A load generator that costs little beside the server it loads: raw HTTP/1.1 over kept connections."""

import asyncio
import time
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._reply: asyncio.Future[int] | None = None

    @classmethod
    async def open(cls, url: str) -> "Connection":
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        _, protocol = await asyncio.get_running_loop().create_connection(cls, parts.hostname, parts.port)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, mark, body = self._buffer.partition(b"\r\n\r\n")
        if not mark or self._reply is None:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self._buffer.clear()
            self._reply.set_result(int(head[9:12]))
            self._reply = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reply is not None:
            self._reply.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def send(self, request: bytes) -> int:
        """Send a whole request and return the status of its reply."""
        assert self._transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def post(url: str, path: str, token: str, body: bytes) -> bytes:
    """Return the bytes of a POST of JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_loop(url: str, request: Callable[[int], bytes], *, connections: int, seconds: float) -> float:
    """Send as fast as replies come over that many connections; return the rate of 2xx replies per second."""
    lines = [await Connection.open(url) for _ in range(connections)]
    ends, sent = time.perf_counter() + seconds, 0

    async def worker(line: Connection) -> int:
        nonlocal sent
        good = 0
        while time.perf_counter() < ends:
            sent += 1
            status = await line.send(request(sent))
            if not 200 <= status < 300:
                raise RuntimeError(f"the server answered {status}")
            good += 1
        return good

    began = time.perf_counter()
    done = await asyncio.gather(*(worker(line) for line in lines))
    rate = sum(done) / (time.perf_counter() - began)
    for line in lines:
        line.close()
    return rate


async def open_loop(url: str, request: Callable[[int], bytes], *, rate: float, seconds: float) -> list[float]:
    """Send at a fixed rate whatever the replies do; return latencies in seconds from each scheduled time."""
    idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
    latencies: list[float] = []
    began = time.perf_counter()

    async def one(number: int) -> None:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        line = idle.get_nowait() if not idle.empty() else await Connection.open(url)
        status = await line.send(request(number))
        latencies.append(time.perf_counter() - due)
        if not 200 <= status < 300:
            raise RuntimeError(f"the server answered {status}")
        idle.put_nowait(line)

    await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
    while not idle.empty():
        idle.get_nowait().close()
    return latencies
