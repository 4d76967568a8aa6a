"""Servers for tests: really bound, really served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from raysvc.api.plain import Handler
from raysvc.api.server import Listeners

DEADLINE_S = 60.0


@dataclass
class Served:
    listeners: Listeners
    app: Starlette
    stop: asyncio.Event
    task: asyncio.Task[None]
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a bare connection, which is closed at the end."""
        host, port = self.listeners.main.getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        self.writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, DEADLINE_S)
        for writer in self.writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[Served]:
    listeners, stop, ready = Listeners.bind("127.0.0.1", 0, 0), asyncio.Event(), asyncio.Event()
    dashboard = Starlette(routes=[Route("/", text_of("dashboard"))])
    task = asyncio.create_task(listeners.serve(app, dashboard, stop, on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), DEADLINE_S)
    here = Served(listeners, app, stop, task)
    try:
        yield here
    finally:
        await here.close()


def text_of(text: str) -> Handler:
    async def handler(_request: Request) -> Response:
        return PlainTextResponse(text)

    return handler


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))
