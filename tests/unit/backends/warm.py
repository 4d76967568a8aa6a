"""A pool of warm drivers as it is, a process of its own with no Ray around it, and the server's channel to it."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from raysvc.backends.local.area import Area
from raysvc.backends.local.pool.channel import Channel
from raysvc.backends.local.pool.pools import LAUNCH
from raysvc.backends.local.pool.program import deliver

DEADLINE_S = 60.0
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@dataclass
class Warm:
    """A pool in the work area `area`; `process` is the pool's own, the one that forks."""

    area: Area
    name: str
    process: asyncio.subprocess.Process
    channel: Channel
    news: list[str] = field(default_factory=list)

    async def start(self, ident: str, entrypoint: str, **rest: Any) -> None:
        run = {
            "id": ident,
            "entrypoint": entrypoint,
            "variables": {},
            "config": {},
            "log": str(self.log(ident)),
            "node": "node-1",
            **rest,
        }
        await self.channel.ask("run", run=run)

    async def run(self, ident: str, entrypoint: str, **rest: Any) -> dict[str, Any]:
        """Start a run and return how it ended."""
        await self.start(ident, entrypoint, **rest)
        return await self.ended(ident)

    async def ended(self, ident: str) -> dict[str, Any]:
        file = self.area.runs / f"{ident}.ended"
        await until(file.exists)
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def log(self, ident: str) -> Path:
        return self.area.root / f"{ident}.log"

    def output(self, ident: str) -> str:
        """Return what the run has written, without the line that stands before it."""
        log = self.log(ident)
        return log.read_text().partition("\n")[2] if log.exists() else ""


@asynccontextmanager
async def pool(
    root: Path, name: str = "pool", variables: Mapping[str, str] | None = None, **options: float
) -> AsyncIterator[Warm]:
    """Run a pool; options are `most`, `idle_s` and `grace_s`."""
    area = Area(root)
    area.prepare()
    program = deliver(area)
    given = {"most": 8, "idle_s": 60, "grace_s": 1, **options}
    flags = [text for key, value in given.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-P", "-c", LAUNCH, str(program)),
        *(str(area.pools / name), "--runs", str(area.runs), *flags),
        env={"PATH": PATH, "HOME": str(area.home), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", **(variables or {})},
        cwd=area.home,
    )
    try:
        socket = area.pools / name / "socket"
        await until(socket.exists)
        news: list[str] = []
        channel = await Channel.open(socket.parent, news.append)
        assert channel
        yield Warm(area, name, process, channel, news)
        await channel.close()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def short(path: Path) -> Path:
    """Return the path from here: a socket's has at most 107 bytes, and pytest's folders take most of them."""
    return Path(os.path.relpath(path))


async def until(condition: Any) -> None:
    """Return once the condition holds; fails after half a minute."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not within a minute"
        await asyncio.sleep(0.01)


def having(word: str) -> list[psutil.Process]:
    """Return the living processes with that word on their command line."""
    found = psutil.process_iter(["cmdline", "status"])
    return [p for p in found if word in (p.info["cmdline"] or ()) and p.info["status"] != psutil.STATUS_ZOMBIE]
