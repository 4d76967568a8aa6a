"""The control plane on fakes and virtual time: what a test moves by hand."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from raysvc.control.ids import RandomIds
from raysvc.control.lease import Leadership
from raysvc.control.logbook import Archive, LogReader
from raysvc.control.queue import Queue
from raysvc.control.reconciler import Reconciler, World
from raysvc.control.signal import Signals
from raysvc.control.terrain import Surveyor
from raysvc.control.vault import Vault
from raysvc.domain.event import fold
from raysvc.domain.job import Job, JobSpec, submit
from raysvc.domain.project import Project
from raysvc.testing.backend import CLUSTER, FakeBackend
from raysvc.testing.blobs import MemoryBlobs
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore

KEY = b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@dataclass
class Place:
    seed: int = 0
    clock: FakeClock = field(default_factory=FakeClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)

    def __post_init__(self) -> None:
        self.ids = RandomIds(Random(self.seed))  # noqa: S311 replayed, not secret
        self.signals = Signals()
        vault = Vault(KEY, self.store.secrets, self.store.packages, self.blobs, self.clock)
        self.backend = FakeBackend(self.clock, vault, seed=self.seed)
        self.logs = LogReader(self.store.jobs, self.blobs, self.signals)
        self.reborn()

    def reborn(self) -> None:
        """Forget all that a process keeps in memory, as after a `kill -9` and a new start."""
        self.archive = Archive(self.backend.jobs, self.blobs, self.signals)
        queue = Queue(self.store, self.backend.clusters, self.clock, CLUSTER, Surveyor(self.store, self.backend))
        world = World(self.store, self.backend, queue, self.archive, self.signals, self.clock, CLUSTER)
        self.leadership = Leadership(self.store.leases, self.clock, self.signals, self.ids.secret())
        self.reconciler = Reconciler(world, self.leadership)

    async def open(self) -> "Place":
        await self.store.open()
        await self.store.projects.put(Project(name="default", created_at=self.clock.now()))
        await self.backend.start()
        return self

    async def submit(self, entrypoint: str, **spec: Any) -> Job:
        now = self.clock.now()
        wanted = JobSpec.model_validate({"entrypoint": entrypoint, **spec})
        names = {"job_id": self.ids.job_id(), "uid": self.ids.uid(now), "project": "default", "owner": "ada"}
        job, event = submit(wanted, **names, now=now)
        return await self.store.jobs.add(job, [event])

    async def pass_by(self, seconds: float, step_s: float = 0.5) -> None:
        """Let that much time go by, with a pass of the reconciler in each step."""
        for _ in range(int(seconds / step_s)):
            await self.leadership.renew()
            if self.leadership.held:
                await self.reconciler.step()
            self.clock.advance(step_s)

    async def now(self, job: Job) -> Job:
        """Return the job as it is kept, having checked that it is the fold of its events."""
        kept = await self.store.jobs.get_by_uid(job.uid)
        assert Job.model_validate(fold(await self.store.jobs.events(job.uid))) == kept
        return kept

    async def log(self, job: Job) -> str:
        kept = await self.store.jobs.get_by_uid(job.uid)
        return b"".join([chunk async for chunk in self.logs.read(kept)]).decode()
