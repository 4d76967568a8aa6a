"""Both origins of a Place, really served: sockets, uvicorn, our own protocol."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from raysvc.api.server import Listeners
from tests.isolation.place import Place

DEADLINE_S = 60.0


@dataclass
class Served:
    """`url` and `dashboard_url` are where it answers; `connect` opens a bare connection, closed at the end."""

    listeners: Listeners
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.listeners.url

    @property
    def dashboard_url(self) -> str:
        return self.listeners.dashboard_url

    async def connect(self, *, dashboard: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        bound = self.listeners.dashboard if dashboard else self.listeners.main
        reader, writer = await asyncio.open_connection(*bound.getsockname())
        self.writers.append(writer)
        return reader, writer

    async def exchange(self, data: bytes, *, dashboard: bool = False) -> bytes:
        """Send the bytes as they are, and return all that comes until the server closes."""
        reader, writer = await self.connect(dashboard=dashboard)
        writer.write(data)
        return await asyncio.wait_for(reader.read(), DEADLINE_S)


@asynccontextmanager
async def serving(place: Place) -> AsyncIterator[Served]:
    listeners, stop, ready = Listeners.bind("127.0.0.1", 0, 0), asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(listeners.serve(place.front, place.dashboard, stop, on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), DEADLINE_S)
    here = Served(listeners)
    try:
        yield here
    finally:
        for writer in here.writers:
            writer.close()
        stop.set()
        await asyncio.wait_for(task, DEADLINE_S)
