"""What every test of a backend needs: a backend that runs, materials, jobs, and a way to wait."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from raysvc.backends.local import LocalBackend, LocalConfig
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.job import Job, JobRef, JobSpec, submit
from raysvc.domain.model import make_uid
from raysvc.domain.observation import ENDED, Observation
from raysvc.errors import NotFound
from raysvc.ports import Backend, Clock

LOOK_S = 0.05
# How long a head may take on a machine whose cores others use too.
READY_S = 240.0
JOB_S = 120.0
Found = TypeVar("Found")
_numbers = itertools.count(1)


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class MemoryMaterials:
    """Secrets and packages by (project, name)."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], str] = {}
        self.packages: dict[tuple[str, str], bytes] = {}

    async def secret(self, project: str, name: str) -> str:
        try:
            return self.secrets[project, name]
        except KeyError as error:
            raise NotFound(f"no secret {name}") from error

    async def package(self, project: str, name: str) -> tuple[int, AsyncIterator[bytes]]:
        try:
            content = self.packages[project, name]
        except KeyError as error:
            raise NotFound(f"no package {name}") from error
        return len(content), self._chunks(content)

    async def _chunks(self, content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1 << 20):
            yield content[start : start + (1 << 20)]


@dataclass(frozen=True)
class Lab:
    """A backend under test. `tick` lets that much time pass, whichever clock the backend goes by.

    `driver` is what its jobs ask for where a test says nothing.
    """

    backend: Backend
    clock: Clock
    materials: MemoryMaterials
    tick: Callable[[float], Awaitable[None]]
    driver: str = "ray"

    def job(self, entrypoint: str, *, project: str = "default", attempt: int = 1, **spec: object) -> Job:
        """Return a new job, about to make that attempt."""
        number = next(_numbers)
        made, _ = submit(
            JobSpec.model_validate({"entrypoint": entrypoint, "driver": self.driver, **spec}),
            job_id=f"raysubmit_{number}",
            uid=make_uid(int(time.time() * 1000), number),
            project=project,
            owner="ada",
            now=self.clock.now(),
        )
        return made.model_copy(update={"attempt": attempt})

    async def run(self, job: Job) -> Observation:
        """Apply the job's attempt and return how it ended."""
        await self.backend.jobs.apply(job)
        return await self.ended(ref_of(job))

    async def ended(self, ref: JobRef, seconds: float = JOB_S) -> Observation:
        async def look() -> Observation | None:
            seen = await self.backend.jobs.observe(ref)
            return seen if seen.seen in ENDED else None

        return await self.until(look, seconds)

    async def until(self, look: Callable[[], Awaitable[Found | None]], seconds: float = JOB_S) -> Found:
        """Return what `look` finds, as soon as it finds something; fails after that long."""
        deadline = self.clock.now().timestamp() + seconds
        while self.clock.now().timestamp() < deadline:
            if (found := await look()) is not None:
                return found
            await self.tick(LOOK_S)
        raise AssertionError(f"not within {seconds} s")

    async def log(self, ref: JobRef, offset: int = 0, *, follow: bool = False) -> bytes:
        async def collect() -> bytes:
            return b"".join([chunk async for chunk in self.backend.jobs.logs(ref, offset=offset, follow=follow)])

        task = asyncio.create_task(collect())
        while not task.done():
            await self.tick(LOOK_S)
        return await task


def ref_of(job: Job) -> JobRef:
    assert job.ref is not None
    return job.ref


async def ready(backend: Backend, seconds: float = READY_S) -> Cluster:
    """Return the cluster once it can take jobs."""
    deadline = time.monotonic() + seconds
    while (cluster := await backend.clusters.get("local")).phase is not ClusterPhase.READY:
        assert time.monotonic() < deadline, f"not ready: {cluster.reason}"
        await asyncio.sleep(LOOK_S)
    return cluster


@asynccontextmanager
async def running(config: LocalConfig) -> AsyncIterator[Lab]:
    """Run a local backend on real Ray, until it takes jobs and to its end."""
    clock, materials = SystemClock(), MemoryMaterials()
    backend = LocalBackend(config, materials, clock)
    try:
        await backend.start()
        await ready(backend)
        yield Lab(backend, clock, materials, asyncio.sleep)
    finally:
        await backend.close()
