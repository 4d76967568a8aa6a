"""The way from one process to the store and the cluster: where it is slow, refused, cut off, frozen or killed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import isasyncgenfunction
from random import Random
from typing import Any

from raysvc.errors import Unavailable
from tests.simulate.loop import Process

_PURE = frozenset({"render", "render_stop", "render_delete"})
# Calls that change something: a kill or a freeze that waits for its moment counts these.
_TELLING = frozenset({"add", "add_each", "add_once", "save", "apply", "stop", "delete", "append", "acquire"})


class Network:
    """What all ways have in common: how long they take, and how likely the store fails."""

    def __init__(self, dice: Random, latency_s: float, kinds: dict[str, float]) -> None:
        self.dice = dice
        self.latency_s = latency_s
        self.refused = kinds.get("store_refused", 0.0)
        self.reply_lost = kinds.get("store_reply_lost", 0.0)
        self.outage = False

    def calm(self) -> None:
        self.refused = self.reply_lost = 0.0
        self.outage = False

    async def travel(self) -> None:
        """Give up the turn, and take time where the plan says so: here a process may be frozen or die."""
        if self.latency_s and self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.random() * self.latency_s)
        else:
            await asyncio.sleep(0)


class Gate:
    """One process's way out. `note` hears of each call that changes something."""

    def __init__(self, network: Network, process: Process, note: Callable[[str], None]) -> None:
        self.network = network
        self.process = process
        self.note = note
        self._armed: list[tuple[int, Callable[[], None]]] = []

    def arm(self, calls: int, act: Callable[[], None]) -> None:
        """Let it happen in the midst of the so-manieth telling call from now: half of the time before its effect."""
        self._armed.append((calls, act))

    def disarm(self) -> None:
        self._armed.clear()

    async def before(self, part: str, verb: str) -> None:
        network = self.network
        if self._armed and verb in _TELLING:
            self._count(0.5)
        await network.travel()
        if part == "store" and (network.outage or (network.refused and network.dice.random() < network.refused)):
            raise Unavailable("The store does not answer.")

    async def after(self, part: str, verb: str) -> None:
        network = self.network
        if verb in _TELLING:
            if verb != "acquire":
                self.note(f"{part}.{verb}")
            if self._armed:
                self._count(1.0)
        await network.travel()
        if part == "store" and (network.outage or (network.reply_lost and network.dice.random() < network.reply_lost)):
            raise Unavailable("The store's answer was lost.")

    def _count(self, chance: float) -> None:
        left = []
        for calls, act in self._armed:
            if calls <= 0 and self.network.dice.random() < chance:
                act()
            else:
                left.append((calls - (chance == 1.0), act))
        self._armed = left


class Through:
    """A part of a port, reached through a gate. It has what the part has."""

    def __init__(self, part: Any, gate: Gate, name: str) -> None:
        self._part = part
        self._gate = gate
        self._name = name

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._part, verb)
        if verb in _PURE or not callable(method):
            return method
        made = self._stream(method, verb) if isasyncgenfunction(method) else self._call(method, verb)
        setattr(self, verb, made)
        return made

    def _call(self, method: Callable[..., Awaitable[Any]], verb: str) -> Callable[..., Awaitable[Any]]:
        gate, name = self._gate, self._name

        async def call(*args: Any, **named: Any) -> Any:
            await gate.before(name, verb)
            result = await method(*args, **named)
            await gate.after(name, verb)
            return result

        return call

    def _stream(self, method: Callable[..., AsyncIterator[Any]], verb: str) -> Callable[..., AsyncIterator[Any]]:
        gate, name = self._gate, self._name

        async def stream(*args: Any, **named: Any) -> AsyncIterator[Any]:
            await gate.before(name, verb)
            async for item in method(*args, **named):
                yield item
                await gate.after(name, verb)

        return stream


class Behind:
    """A store or backend whose parts are reached through a gate."""

    def __init__(self, whole: Any, gate: Gate, name: str, parts: tuple[str, ...]) -> None:
        for part in parts:
            setattr(self, part, Through(getattr(whole, part), gate, name))

    async def start(self) -> None:
        """The cluster is there, and stays where a server ends."""

    async def close(self, *, leave_running: bool = False) -> None: ...


STORE_PARTS = (
    *("jobs", "leases", "projects", "tokens", "secrets", "packages", "flags", "pools", "quarantines"),
    *("keys", "ledger", "services", "clusters", "sightings"),
)
BACKEND_PARTS = ("jobs", "clusters", "artifacts")
