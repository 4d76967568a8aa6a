"""The pools of a head: one a project, started when a job first needs it, gone when none did for a while."""

import asyncio
import re
import secrets
import shlex
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raysvc.backends.local.area import Area, disk
from raysvc.backends.local.pool.channel import Channel
from raysvc.backends.local.pool.program import deliver, digest
from raysvc.backends.rayjob.api import RayApi
from raysvc.errors import Unavailable
from raysvc.ports import Clock

# Memory that nobody uses is given back after this: a pool and its supervisor take 135 MiB (PSS), and start in 1.5 s.
IDLE_S = 120.0
_START_S = 30.0
_LOOK_S = 0.03
# Ray is asked what became of a pool that does not come up in every so many looks.
_ASK_EVERY = 30
# A project, the program's digest, and a number of its own.
_NAME = re.compile(r"warm-(?P<project>[a-z0-9-]{1,63})-(?P<program>[0-9a-f]{8})-[0-9a-f]{8}")
# Of more pools than this, idle ones are told to end before another starts: that bounds what they take together.
MOST_POOLS = 4
_ENDED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
LAUNCH = "import sys; sys.path.insert(0, sys.argv.pop(1)); from raysvc_warm.__main__ import main; main()"


@dataclass(frozen=True)
class Terms:
    """`most` runs at once in a pool; `grace_s` between SIGTERM and SIGKILL."""

    area: Callable[[], Area]
    instance: str
    most: int
    grace_s: float
    clock: Clock
    idle_s: float = IDLE_S


class Pools:
    """Finds, starts and forgets pools. `on_news` hears of runs in any of them."""

    def __init__(self, terms: Terms, on_news: Callable[[str], None]) -> None:
        self._terms = terms
        self._on_news = on_news
        self._channels: dict[str, Channel] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._program = digest()

    async def obtain(self, api: RayApi, project: str) -> tuple[str, Channel]:
        """Return the project's pool, by its name and a channel to it; starts one where there is none (1.5 s).

        Raises Unavailable.
        """
        async with self._locks[f"project {project}"]:
            for name in self._names(project):
                channel = await self.reach(name)
                if channel is None:
                    await self._forget(api, name)
                elif _part(name, "program") == self._program:
                    return name, channel
            await self._make_room()
            name = f"warm-{project}-{self._program}-{secrets.token_hex(4)}"
            await self._start(api, project, name)
            return name, await self._arrival(api, name)

    async def reach(self, name: str) -> Channel | None:
        """Return a channel to the pool of that name; None where it is dead. Raises Unavailable."""
        if not _NAME.fullmatch(name):
            return None
        async with self._locks[name]:
            channel = self._channels.get(name)
            if channel is None or not channel.alive:
                self._channels.pop(name, None)
                channel = await Channel.open(self._folder(name), self._on_news)
                if channel is not None:
                    self._channels[name] = channel
            return channel

    async def close(self) -> None:
        """Let go of all pools; they go on. May be repeated."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    async def _make_room(self) -> None:
        """Where there are as many pools as there should be, tell those that run nothing to end."""
        channels = [channel for channel in self._channels.values() if channel.alive]
        if len(channels) >= MOST_POOLS:
            for channel in channels:
                with suppress(Unavailable):
                    await channel.ask("retire")

    def _names(self, project: str) -> list[str]:
        with disk():
            found = [path.name for path in self._terms.area().pools.iterdir()]
        return [name for name in found if _part(name, "project") == project]

    def _folder(self, name: str) -> Path:
        return self._terms.area().pools / name

    async def _start(self, api: RayApi, project: str, name: str) -> None:
        area, terms = self._terms.area(), self._terms
        with disk():
            program = await asyncio.to_thread(deliver, area)
        options = ["--runs", area.runs, "--most", terms.most, "--idle-s", terms.idle_s, "--grace-s", terms.grace_s]
        python = [sys.executable, "-u", "-P", "-c", LAUNCH, program, area.pools / name, *options]
        command = [sys.executable, "-I", program / "init.py", "--id", name, "--follow", "--", *python]
        body = {
            "submission_id": name,
            # The shell stays, as what Ray kills; what follows it then ends all that is below.
            "entrypoint": shlex.join(map(str, command)) + "; exit $?",
            "runtime_env": {},
            "metadata": {"job_name": name, "raysvc.project": project, "raysvc.instance": terms.instance},
        }
        await api.submit(body)

    async def _arrival(self, api: RayApi, name: str) -> Channel:
        """Return the channel to a pool that has just been started, once it is up. Raises Unavailable."""
        for look in range(int(_START_S / _LOOK_S)):
            if look % _ASK_EVERY == _ASK_EVERY - 1:
                record = await api.job(name) or {}
                if record.get("status") in _ENDED:
                    raise Unavailable(f"The pool of warm drivers ended at its start: {record.get('message')}")
            if (self._folder(name) / "socket").exists() and (channel := await self.reach(name)):
                return channel
            await self._terms.clock.sleep(_LOOK_S)
        raise Unavailable(f"The pool of warm drivers did not come up within {_START_S:.0f} s.")

    async def _forget(self, api: RayApi, name: str) -> None:
        """Remove what a dead pool left. Its supervisor may be a moment behind: then the next look does."""
        with suppress(Unavailable):
            await api.delete(name)
            await asyncio.to_thread(shutil.rmtree, self._folder(name), ignore_errors=True)


def _part(name: str, part: str) -> str | None:
    match = _NAME.fullmatch(name)
    return match[part] if match else None
