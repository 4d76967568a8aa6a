"""The whole of the control plane, put together from ports: what the API calls, and what runs behind it."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from raysvc.control.cluster.desk import ClusterDesk, ClusterPlace
from raysvc.control.cluster.loop import ClusterLoop, ClusterWorld
from raysvc.control.floor import Floor
from raysvc.control.housekeeping import Housekeeper, Retention
from raysvc.control.intake import Intake
from raysvc.control.issue import TokenDesk
from raysvc.control.jobs import JobDesk
from raysvc.control.key import KeyDesk
from raysvc.control.lease import Leadership
from raysvc.control.limit import ProjectCache
from raysvc.control.logbook import Archive, LogReader
from raysvc.control.output import OutputDesk
from raysvc.control.pool import PoolDesk
from raysvc.control.project import ProjectDesk
from raysvc.control.queue import Queue
from raysvc.control.reconciler import Reconciler, World
from raysvc.control.secret import SecretDesk
from raysvc.control.serving.desk import ServiceDesk
from raysvc.control.serving.intake import ServiceIntake
from raysvc.control.serving.loop import ServiceLoop, ServiceWorld
from raysvc.control.serving.replicas import ReplicaDesk
from raysvc.control.serving.router import Router
from raysvc.control.shelf import Shelf
from raysvc.control.signal import Signals
from raysvc.control.terrain import Surveyor
from raysvc.control.token import Gate
from raysvc.control.usage import UsageDesk
from raysvc.control.vault import Vault
from raysvc.domain.project import Project
from raysvc.errors import NotFound, RaysvcError
from raysvc.ports import Backend, Blobs, Clock, Edge, Hosting, Ids, Policy, Serving, Store

log = structlog.get_logger()
DEFAULT_PROJECT = "default"


@dataclass(frozen=True)
class Parts:
    """Everything concrete that bootstrap chose. No `edge`: nothing is served to OpenAI clients here.

    `replica_hosts`: whether replicas of services can be there.
    """

    store: Store
    blobs: Blobs
    backend: Backend
    vault: Vault
    clock: Clock
    ids: Ids
    policies: Sequence[Policy]
    spool: Path
    holder: str
    cluster: str = "local"
    max_package_bytes: int = 2 << 30
    retention: Retention = field(default_factory=Retention)
    edge: Edge | None = None
    replica_hosts: Callable[[str], bool] = lambda _: True


class Platform:
    """The services, each one noun. `start` runs the loops; `close` ends them and lets go of the lease."""

    def __init__(self, parts: Parts) -> None:
        store, backend, clock = parts.store, parts.backend, parts.clock
        signals = Signals()
        self.parts = parts
        self.store = store
        self.backend = backend
        self.clock = clock
        self.vault = parts.vault
        self.signals = signals
        surveyor = Surveyor(store, backend)
        self.queue = Queue(store, backend.clusters, clock, parts.cluster, surveyor)
        self.intake = Intake(store, backend, parts.policies, clock, parts.ids, signals)
        self.desk = JobDesk(store, self.queue, clock, signals)
        self.logs = LogReader(store.jobs, parts.blobs, signals)
        self.shelf = Shelf(store, parts.blobs, clock, parts.spool, parts.max_package_bytes)
        self.gate = Gate(store.tokens, clock, parts.ids)
        self.tokens = TokenDesk(self.gate, store.tokens, store.projects, clock)
        self.projects = ProjectDesk(store.projects, clock)
        self.secrets = SecretDesk(parts.vault, store.secrets, store.projects, clock)
        self.keys = KeyDesk(store.keys, store.ledger, store.projects, clock, parts.ids)
        self.usage = UsageDesk(store.ledger, self.keys, store.projects, clock)
        self.outputs = OutputDesk(backend.artifacts)
        self.pools = PoolDesk(store, backend, clock)
        self.floor = Floor(backend.clusters, store.flags, parts.policies, signals)
        self._archive = Archive(backend.jobs, parts.blobs, signals)
        place = ClusterPlace(
            store, backend, self.floor, self.desk, parts.cluster, clock=clock, ids=parts.ids, signals=signals
        )
        self.shared = ClusterDesk(place)
        self._leadership = Leadership(store.leases, clock, signals, parts.holder)
        world = World(store, backend, self.queue, self._archive, signals, clock, parts.cluster)
        self._reconciler = Reconciler(world, self._leadership)
        self.housekeeper = Housekeeper(store, backend, parts.blobs, self._archive, clock, parts.retention)
        self.replicas = ReplicaDesk(
            (store.services, store.sightings),
            (self.keys, self.usage),
            (parts.vault.replica_token, parts.replica_hosts),
            clock,
            signals,
        )
        intake = ServiceIntake(backend, store.services, ProjectCache(store.projects, clock), parts.policies)
        self.services = ServiceDesk(store.services, intake, self.replicas, clock, parts.ids, signals)
        self.edge = parts.edge
        self._service_loop = ServiceLoop(self._service_world(), self._leadership)
        self._tasks: list[asyncio.Task[None]] = []

    def _service_world(self) -> ServiceWorld:
        return ServiceWorld(
            records=self.store.services,
            driver=self.backend.services if isinstance(self.backend, Serving) else None,
            replicas=self.replicas,
            router=Router(self.edge, self.replicas) if self.edge is not None else None,
            signals=self.signals,
            clock=self.clock,
            kept=self.parts.retention.finished_jobs,
        )

    @property
    def leads(self) -> bool:
        """Whether this server is the one that starts and stops jobs; another one that shares its database stands by."""
        return self._leadership.held

    async def start(self) -> None:
        """Begin to work: the default project exists, the loops run. The store is open before; Ray need not be up."""
        await ensure_project(self.store, DEFAULT_PROJECT, self.clock)
        await self.backend.start()
        if self.edge is not None:
            await self.edge.start()
        if isinstance(self.backend, Hosting):
            kept = self.parts.retention.finished_jobs
            world = ClusterWorld(self.store, self.backend.shared, self.signals, self.clock, kept)
            clusters = [ClusterLoop(world, self._leadership).run()]
        else:
            clusters = []
        loops = (
            *clusters,
            self._leadership.run(),
            self._reconciler.run(),
            self._service_loop.run(),
            self.housekeeper.run(self._leadership),
        )
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def close(self, *, leave_running: bool = False) -> None:
        """End the loops, let go of the lease, and close the backend and the store. May be repeated."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await self._archive.close()
        with contextlib.suppress(RaysvcError):  # a lease that the store does not take back ends by itself
            await self._leadership.release()
        try:
            if self.edge is not None:
                await self.edge.close(leave_running=leave_running)
            await self.backend.close(leave_running=leave_running)
        finally:
            await self.store.close()


async def ensure_project(store: Store, name: str, clock: Clock) -> None:
    """Make the project where it is missing. May be repeated."""
    try:
        await store.projects.get(name)
    except NotFound:
        await store.projects.put(Project(name=name, created_at=clock.now()))
