"""A WebSocket client inside the process: what an app does with one, event by event."""

import asyncio
from typing import Any, Self

from starlette.types import ASGIApp

DEADLINE_S = 60.0


class Socket:
    """Connects on `open`; `received` grows as the app sends. `slow`: sends wait until `ready` is set."""

    def __init__(self, app: ASGIApp, path: str, headers: dict[str, str], *, slow: bool = False) -> None:
        self._app = app
        self._scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "subprotocols": [],
            "server": ("front", 80),
            "client": ("test", 1),
            "state": {},
            "extensions": {"websocket.http.response": {}},
        }
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self.ready = asyncio.Event()
        if not slow:
            self.ready.set()
        self.received: list[Any] = []

    async def __aenter__(self) -> Self:
        self._incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.create_task(self._run())
        await self.until(lambda: bool(self.received) or self.task.done())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.disconnect()
        await asyncio.wait_for(self.task, DEADLINE_S)

    def disconnect(self) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def _run(self) -> None:
        await self._app(self._scope, self._incoming.get, self._send)

    @property
    def text(self) -> str:
        return "".join(event["text"] for event in self.received if event["type"] == "websocket.send")

    @property
    def close(self) -> int | None:
        return next((event["code"] for event in self.received if event["type"] == "websocket.close"), None)

    async def until(self, true: Any) -> None:
        """Wait until the condition holds, looked at after each event."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            while not true():
                # An app that ends says nothing, so a short wait looks again.
                try:
                    await asyncio.wait_for(self._changed.wait(), 0.05)
                except TimeoutError:
                    continue

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            await self.ready.wait()
        async with self._changed:
            self.received.append(message)
            self._changed.notify_all()
