"""The store, the cluster, the servers on them, and what each operation of a plan does to them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from raysvc.control.ids import RandomIds
from raysvc.control.platform import Parts, Platform
from raysvc.control.queue import PAUSED
from raysvc.control.vault import Vault
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.job import JobRef
from raysvc.domain.project import Limits, Project
from raysvc.errors import NotFound, RaysvcError
from raysvc.ports import Backend, Blobs, Store
from raysvc.testing.backend import FakeBackend, Faults
from raysvc.testing.blobs import MemoryBlobs
from raysvc.testing.store import MemoryStore
from tests.simulate.gate import BACKEND_PARTS, STORE_PARTS, Behind, Gate, Network, Through
from tests.simulate.loop import Process, VirtualLoop
from tests.simulate.plan import PROJECTS, Op, Plan

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
# A supervisor such as systemd starts a server again after this long.
RESTART_S = 0.5
KEEP = timedelta(hours=1)
# A client that hears nothing for so long asks another server.
PATIENCE_S = 5.0


class SimClock:
    """A machine's clock: the virtual time, and how far it is off."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.skew_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time() + self.skew_s)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class Gone(Exception):
    """The server died, or did not answer in time: who asked does not know what came of it."""


class Server:
    """One control plane, started again whenever it has died."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.clock = SimClock(world.loop)
        self.births = 0
        self._asked: set[asyncio.Future[Any]] = set()
        self.boot()

    def boot(self) -> None:
        """Start it with nothing in memory, as the machine's own clock has it."""
        world = self.world
        self.births += 1
        self.process = Process(f"{self.name}{self.births}", world.loop)
        world.processes.append(self.process)
        self.gate = Gate(world.network, self.process, self._note)
        store = cast("Store", Behind(world.store, self.gate, "store", STORE_PARTS))
        blobs = cast("Blobs", Through(world.blobs, self.gate, "blobs"))
        self.platform = Platform(
            Parts(
                store=store,
                blobs=blobs,
                backend=cast("Backend", Behind(world.backend, self.gate, "cluster", BACKEND_PARTS)),
                vault=Vault(KEY, store.secrets, store.packages, blobs, self.clock),
                clock=self.clock,
                ids=RandomIds(Random(f"{world.plan.seed} {self.process.name}")),  # noqa: S311 replayed
                policies=(),
                spool=Path("unused"),
                holder=self.process.name,
            )
        )
        self.process.begin(self._start(self.process, self.platform))

    async def _start(self, process: Process, platform: Platform) -> None:
        try:
            await platform.start()
        except RaysvcError:
            await asyncio.sleep(RESTART_S)
            if self.process is process:
                self.boot()

    def kill(self, down_s: float) -> None:
        """End it as `kill -9` does, and let it be started again."""
        if self.process.alive:
            self.world.note(f"{self.process.name} is killed")
            self.process.kill()
            for asked in list(self._asked):
                if not asked.done():
                    asked.set_exception(Gone())
            self.world.later(down_s, self.boot)

    def freeze(self, seconds: float) -> None:
        self.world.note(f"{self.process.name} is frozen for {seconds} s")
        self.process.freeze(seconds)

    async def shut_down(self, down_s: float) -> None:
        """End it as a SIGTERM does."""
        process, platform = self.process, self.platform
        with suppress(RaysvcError, Gone):
            await self.ask(lambda _: platform.close(leave_running=True))
        if self.process is process:
            self.kill(down_s)

    async def ask(self, request: Callable[[Platform], Awaitable[T]]) -> T:
        """Have the server do something, as a client does; raises Gone where no answer comes."""
        if not self.process.alive:
            raise Gone
        reply: asyncio.Future[T] = self.world.loop.create_future()

        async def handle() -> None:
            try:
                result = await request(self.platform)
            except Exception as error:  # noqa: BLE001 the client's to judge
                if not reply.done():
                    reply.set_exception(error)
            else:
                if not reply.done():
                    reply.set_result(result)

        self._asked.add(reply)
        self.process.begin(handle())
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await reply
        except TimeoutError as error:
            raise Gone from error
        finally:
            self._asked.discard(reply)

    def _note(self, call: str) -> None:
        self.world.note(f"{self.process.name} {call}")


@dataclass
class World:
    """All that there is. `trace` None: nobody reads along."""

    plan: Plan
    loop: VirtualLoop
    trace: list[str] | None = None
    processes: list[Process] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)
    by_hand: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan = self.plan
        self.clock = SimClock(self.loop)
        self.dice = Random(f"{plan.seed} faults")  # noqa: S311 replayed
        self.store = MemoryStore()
        self.blobs = MemoryBlobs()
        self.network = Network(self.dice, plan.latency_s, plan.kinds)
        vault = Vault(KEY, self.store.secrets, self.store.packages, self.blobs, self.clock)
        self.vault = vault
        self.backend = FakeBackend(self.clock, vault, seed=plan.seed, faults=plan.cluster_faults())
        self.backend.poll_s = 1.0
        self.backend.ray.startup_s = plan.startup_s
        self.backend.ray.stop_s = plan.stop_s
        self.backend.ray.two_steps = plan.two_steps
        self.backend.cluster = self.backend.cluster.model_copy(update={"max_running_jobs": plan.slots})
        self.uids: dict[int, str] = {}
        self.servers: list[Server] = []

    async def open(self) -> None:
        await self.store.open()
        for name in PROJECTS:
            limits = Limits.model_validate(self.plan.limits[name])
            await self.store.projects.put(Project(name=name, limits=limits, created_at=START))
            await self.vault.put(name, "TOKEN", "secret")
        await self.backend.start()
        self.servers = [Server(self, name) for name in "AB"[: self.plan.servers]]

    def note(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.loop.time():9.4f}  {text}")

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.loop.call_later(seconds, act, context=Context())  # in no process, whoever is about to die here

    def calm(self) -> None:
        """End all faults, those that strike by chance and those that last."""
        self.note("faults are over")
        self.network.calm()
        for server in self.servers:
            server.gate.disarm()
            server.process.thaw()
        self.backend.faults = Faults()
        self.backend.turn(ClusterPhase.READY)

    async def do(self, op: Op) -> None:
        """Carry out an operation that is not a client's."""
        what = op.what
        names = [name for name in what.get("server", "") if name < "AB"[self.plan.servers - 1 :][:1] + "~"]
        servers = [server for server in self.servers if server.name in names] or self.servers[:1]
        seconds: float = what.get("seconds", 0.0)
        match op.kind:
            case "kill":
                servers[0].gate.arm(what["after_calls"], lambda: servers[0].kill(seconds))
            case "freeze":
                servers[0].gate.arm(what["after_calls"], lambda: servers[0].freeze(seconds))
            case "shutdown":
                await servers[0].shut_down(seconds)
            case "jump":
                for server in servers:
                    server.clock.skew_s += seconds
            case "lose":
                self.backend.ray.lose_all()
            case "head":
                self.backend.ray.lose_all()
                self.backend.turn(ClusterPhase.DEGRADED)
                self.later(seconds, lambda: self.backend.turn(ClusterPhase.READY))
            case _:
                await self._trouble(op.kind, what, seconds)

    async def _trouble(self, kind: str, what: dict[str, Any], seconds: float) -> None:
        flags = self.store.flags
        match kind:
            case "outage":
                self.network.outage = True
                self.later(seconds, self._end_outage)
            case "pause":
                await flags.put(PAUSED, "for a while")
                await asyncio.sleep(seconds)
                await flags.put(PAUSED, None)
            case "by_hand" if what["job"] in self.uids:
                uid = self.uids[what["job"]]
                self.by_hand.add(uid)
                job = await self.store.jobs.get_by_uid(uid)
                self.backend.ray.stop(JobRef(uid=uid, attempt=max(1, job.attempt)))
            case "forget":
                for project in PROJECTS:
                    with suppress(NotFound):
                        await self.store.secrets.delete(project, "TOKEN")
                    self.forgotten.add(project)

    def _end_outage(self) -> None:
        self.network.outage = False
