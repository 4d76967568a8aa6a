"""Server-sent events: a paced stream that ends with its source, with its reader's right to it, or with the server.

Only a source that says so is over (`event: end`); a stream that just stops was cut, and its client comes again with
Last-Event-ID.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any, NamedTuple

import structlog
from starlette.requests import Request
from starlette.responses import StreamingResponse

from raysvc.api.auth import principal
from raysvc.errors import RaysvcError

log = structlog.get_logger()

# Below the idle timeout of usual proxies (30 to 60 s). At each the reader's token is looked at again.
PING_S = 15.0


class Message(NamedTuple):
    """`id` is what Last-Event-ID will say; `data` is sent as JSON, so that no line end of a log ends an event."""

    id: str
    event: str
    data: Any

    def encode(self) -> bytes:
        return f"id: {self.id}\nevent: {self.event}\ndata: {json.dumps(self.data)}\n\n".encode()


def stream(request: Request, source: AsyncIterator[Message]) -> StreamingResponse:
    """Return the reply that sends the messages as they come."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_paced(request, source), media_type="text/event-stream", headers=headers)


def last_event_id(request: Request) -> int | None:
    """Return where an earlier stream was cut; None for a first one."""
    text = request.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004 64 bits


async def _paced(request: Request, source: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    stopping = asyncio.create_task(request.app.state.stopping.wait())
    upcoming: asyncio.Task[Message | None] | None = None
    checked = monotonic()
    try:
        yield b"retry: 1000\n\n"
        while True:
            upcoming = upcoming or asyncio.create_task(_next(source))
            await asyncio.wait({upcoming, stopping}, timeout=PING_S, return_when=asyncio.FIRST_COMPLETED)
            if monotonic() - checked >= PING_S:
                await principal(request)
                checked = monotonic()
            if upcoming.done():
                message, upcoming = upcoming.result(), None
                if message is None:
                    return
                yield message.encode()
            elif stopping.done():
                return
            else:
                yield b": ping\n\n"
    except RaysvcError as error:
        log.info("stream cut", path=request.url.path, error=error.message)
    finally:
        stopping.cancel()
        if upcoming is not None:
            upcoming.cancel()
            with contextlib.suppress(asyncio.CancelledError, RaysvcError):
                await upcoming


async def _next(source: AsyncIterator[Message]) -> Message | None:
    return await anext(source, None)
