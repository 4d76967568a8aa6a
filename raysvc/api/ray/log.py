"""Logs: the whole text at once, or a WebSocket that follows until the job has ended."""

import asyncio
import codecs
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import cast

import structlog
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from raysvc.api.cluster.upstream import Upstream
from raysvc.api.plain import Stream, refusal
from raysvc.api.ray.caller import Caller, caller
from raysvc.api.ray.find import find_job
from raysvc.control.platform import Platform
from raysvc.domain.access import Resource, Verb, authorise
from raysvc.domain.job import Job
from raysvc.errors import RaysvcError, Unauthenticated

log = structlog.get_logger()

# One frame holds at most this many bytes of the log; a byte that is no text becomes three, and 1 MiB is the promise.
FRAME_BYTES = 256 << 10
# So often is the reader's token looked at again.
RECHECK_S = 15.0


class LogRoutes:
    """Ray's /api/jobs/{id}/logs over the archive, so that a log outlives its cluster."""

    def __init__(self, platform: Platform, upstream: Upstream) -> None:
        self._platform = platform
        self._upstream = upstream

    async def whole(self, request: Request) -> Response:
        job = await self.find(await caller(request), request.path_params["job_id"])
        return Stream(self._json(job), media_type="application/json")

    async def tail(self, socket: WebSocket) -> None:
        """Send the log as it grows, from its first byte; close with 1000 when the job has ended and all is out.

        Every other end drops the connection with no close frame: to Ray's client any code is success.
        """
        try:
            job = await self.find(await caller(socket), socket.path_params["job_id"])
        except RaysvcError as error:
            await socket.send_denial_response(refusal(error))
            return
        await socket.accept()
        pump = asyncio.create_task(self._pump(socket, job), name=f"tail {job.uid}")
        gone = asyncio.create_task(_until_gone(socket))
        try:
            await asyncio.wait((pump, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, gone):
                task.cancel()
            await asyncio.wait((pump, gone))
        if pump.cancelled():
            return
        broken = pump.exception()
        if broken is None:
            with suppress(WebSocketDisconnect):
                await socket.close(1000)
        elif not isinstance(broken, WebSocketDisconnect):
            log.error("log tail broke off", uid=job.uid, exc_info=broken)

    async def find(self, who: Caller, job_id: str) -> Job:
        """Return the job; raises NotFound, or Forbidden for one whose log the caller may not read."""
        authorise(who.principal, Verb.READ, Resource.LOG, who.project)
        return await find_job(self._platform, self._upstream, who, job_id)

    async def _pump(self, socket: WebSocket, job: Job) -> None:
        async with aclosing(text(self._platform.logs.read(job, follow=True))) as frames:
            async for frame in frames:
                await socket.send_text(frame)  # waits while the reader is slow: at most one frame is in memory

    async def _json(self, job: Job) -> AsyncGenerator[bytes, None]:
        yield b'{"logs":"'
        async with aclosing(text(self._platform.logs.read(job))) as pieces:
            async for piece in pieces:
                yield json.dumps(piece)[1:-1].encode()
        yield b'"}'


async def not_a_socket(_request: Request) -> Response:
    """Answer a plain GET of the tail as Ray does."""
    return PlainTextResponse("No WebSocket UPGRADE hdr: logs/tail is a WebSocket.", status_code=400)


async def text(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """Yield the bytes as text in pieces of at most FRAME_BYTES, never cut inside a character; junk becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)):
        async for chunk in chunks:
            for start in range(0, len(chunk), FRAME_BYTES):
                if piece := decoder.decode(chunk[start : start + FRAME_BYTES]):
                    yield piece
    if rest := decoder.decode(b"", final=True):
        yield rest


async def _until_gone(socket: WebSocket) -> None:
    """Return when the reader has gone, or may no longer read."""
    while True:
        try:
            async with asyncio.timeout(RECHECK_S):
                if (await socket.receive())["type"] == "websocket.disconnect":
                    return
        except TimeoutError:
            try:
                await caller(socket)
            except Unauthenticated as error:
                log.info("log tail cut", error=error.message)
                return
            except RaysvcError:
                continue  # the store is away; that is no reason to cut what is being read
