"""The programs of `serving/` are imported as on a cluster: from their own folder."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from raysvc.payload import root

sys.path.insert(0, str(root() / "serving"))

from guard import Guard
from spool import Entry, SpoolReader

Message = MutableMapping[str, Any]
DOOR = "the-replica-itself"
SECRET = "rsk-one"
ANSWER = b'{"choices":[{"text":"hi"}],"usage":{"prompt_tokens":7,"total_tokens":10,"completion_tokens":3}}'


class Replica:
    """A guard, its folder, a clock that stands still, and an inner app that a test chooses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.inner: Callable[..., Awaitable[None]] = answering(ANSWER)
        self.body = b""
        (folder / "door").write_text(DOOR)
        # What happens while the guard waits.
        self.meanwhile: Callable[[], None] = lambda: None
        self.guard = Guard(self._app, folder, clock=lambda: self.now, wall=lambda: self.now, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()

    async def _app(self, scope: Message, receive: Any, send: Any) -> None:
        await self.inner(scope, receive, send)

    def keys(self, **limits: Any) -> None:
        """Write a table with one key, SECRET; it is seen at once."""
        grant = {"id": "key1", "digest": hashlib.sha256(SECRET.encode()).hexdigest(), **limits}
        self.table([grant])

    def table(self, grants: list[dict[str, Any]]) -> None:
        draft = self.folder / "keys.new"
        draft.write_text(json.dumps({"keys": grants}))
        draft.replace(self.folder / "keys.json")
        self.now += 1.0

    def ask(self, path: str = "/v1/completions", **headers: str) -> "Reply":
        """Send one request; with SECRET, unless other headers are given."""
        given = headers or {"authorization": f"Bearer {SECRET}"}
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()]
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": self.body}

        async def run() -> None:
            await self.guard({"type": "http", "path": path, "headers": pairs}, receive, send)

        asyncio.run(run())
        return Reply(sent)

    def spooled(self) -> list[Entry]:
        return list(SpoolReader(self.folder / "spool").entries())


class Reply:
    def __init__(self, sent: list[Message]) -> None:
        self.status = sent[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in sent[1:])

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


def answering(body: bytes, status: int = 200) -> Callable[..., Awaitable[None]]:
    async def app(_scope: Message, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    made = Replica(tmp_path)
    made.keys()
    return made
