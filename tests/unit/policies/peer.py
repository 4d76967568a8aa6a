"""The other side of a webhook: a server on a real socket that records what comes in and answers as it is told."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysvc.domain.admission import Admission, Verdict
from raysvc.domain.job import JobSpec
from raysvc.domain.project import Role
from raysvc.policies import load

from .conftest import StandingClock

ASKED = Admission(
    project="vision", owner="ada", role=Role.MEMBER, job_id="raysubmit_1", spec=JobSpec(entrypoint="python train.py")
)
KEY = "correct horse"
Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A peer that records what comes in and answers as it is told."""

    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=t0ken"


def answer(body: bytes | dict[str, Any], status: str = "200 OK", headers: str = "") -> Behaviour:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()

    return write


@asynccontextmanager
async def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            server.requests.append((request, headers, await reader.readexactly(int(headers["content-length"]))))
            await behave(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


def webhook(folder: Path, url: str, **settings: Any) -> str:
    (folder / "hook.key").write_text(f"{KEY}\n")
    fields = {"name": "cost-check", "url": url, "secret_file": "hook.key", "allow_private": True} | settings
    return json.dumps({"policy": "money", "webhooks": [fields]})  # JSON is YAML


async def ask(folder: Path, url: str, **settings: Any) -> Sequence[Verdict]:
    file = folder / "money.yaml"
    file.write_text(webhook(folder, url, **settings))
    [policy] = load([file], StandingClock())
    return await policy.review(ASKED)
