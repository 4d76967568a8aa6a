"""The whole front on fakes: every request goes through the middleware, as it does in the server."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from raysvc.api.app import create_app
from raysvc.api.cluster.upstream import Upstream
from raysvc.api.context import ApiSettings
from raysvc.control.intake import Submission
from raysvc.domain.access import Principal
from raysvc.domain.job import Job, JobSpec
from raysvc.domain.project import Role
from raysvc.ports import Store
from tests.unit.api_ray.world import World as RayWorld

URL = "http://127.0.0.1:8500"
SETTINGS = ApiSettings(url=URL, dashboard_url="http://127.0.0.1:8501", version="0.1.0", session_key=b"k" * 32)
ROOT = Principal(name="root", role=Role.ADMIN)
UNKNOWN_UID = "0000000000000000"


class Sent(NamedTuple):
    """One server-sent event."""

    id: str
    event: str
    data: Any


class World(RayWorld):
    """`call` sends one request, as an admin of everything unless told otherwise."""

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        upstream = Upstream(httpx.MockTransport(lambda _: httpx.Response(503)))
        super().__init__(folder, upstream, store)
        self.front = create_app(self.platform, SETTINGS, upstream)
        self._admin: dict[str, str] | None = None

    async def headers(self) -> dict[str, str]:
        if self._admin is None:
            self._admin = await self.bearer()
        return self._admin

    async def call(
        self, method: str, path: str, *, as_: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request. `as_`: the headers that say who asks; an empty mapping asks as nobody."""
        headers = httpx.Headers(dict(await self.headers() if as_ is None else as_))
        headers.update(options.pop("headers", {}))
        transport = httpx.ASGITransport(app=self.front, client=("127.0.0.1", 50000))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            return await client.request(method, path, headers=headers, **options)

    async def submit(self, entrypoint: str = "echo hi", *, project: str = "default", **spec: Any) -> Job:
        """Submit a job behind the API's back."""
        asked = Submission(project, JobSpec(entrypoint=entrypoint, **spec))
        return (await self.platform.intake.submit(ROOT, asked)).job

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator["Stream"]:
        """Open a stream that is read as it comes, which httpx's own transport cannot; cut at the end."""
        stream = Stream(self, path, {**await self.headers(), **(headers or {})})
        task = asyncio.create_task(stream.run())
        try:
            yield stream
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Stream:
    """A response of server-sent events."""

    def __init__(self, world: World, path: str, headers: Mapping[str, str]) -> None:
        self._app = world.front
        url = httpx.URL(URL + path)
        fields = {"host": "127.0.0.1:8500", **headers}
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in fields.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8500),
        }
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._text = ""
        self.over = False

    async def run(self) -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await self._chunks.put(message.get("body", b""))

        try:
            await self._app(self._scope, receive, send)
        finally:
            await self._chunks.put(None)

    async def next(self) -> Sent | None:
        """Return the next event, None at the end of the stream; fails when none comes in time."""
        async with asyncio.timeout(60):
            while (block := await self._block()) is not None:
                fields = dict(line.partition(": ")[::2] for line in block.split("\n"))
                if "data" in fields:
                    return Sent(fields["id"], fields["event"], json.loads(fields["data"]))
            return None

    async def rest(self) -> list[Sent]:
        """Return all further events, to the end."""
        found = []
        while (sent := await self.next()) is not None:
            found.append(sent)
        return found

    async def _block(self) -> str | None:
        while "\n\n" not in self._text:
            chunk = await self._chunks.get()
            if chunk is None:
                return None
            self._text += chunk.decode()
        block, _, self._text = self._text.partition("\n\n")
        return block
