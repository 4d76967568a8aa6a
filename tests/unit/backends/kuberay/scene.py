"""A job on the fake API server, and how to wait for what comes of it."""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from raysvc.backends.kuberay import KubeBackend
from raysvc.domain.job import Job, JobRef, JobSpec, submit
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode
from tests.contract.backend.lab import MemoryMaterials, SystemClock
from tests.unit.backends.kuberay.fake_api import FakeApi

INSTANCE = "0123456789abcdef"
_numbers = itertools.count(1)


def job_of(entrypoint: str = "python train.py", *, attempt: int = 1, **spec: object) -> Job:
    number = next(_numbers)
    made, _ = submit(
        JobSpec.model_validate({"entrypoint": entrypoint, **spec}),
        job_id=f"raysubmit_{number}",
        uid=f"{number:016d}",
        project="default",
        owner="ada",
        now=SystemClock().now(),
    )
    return made.model_copy(update={"attempt": attempt})


def ref_of(job: Job) -> JobRef:
    assert job.ref is not None
    return job.ref


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Scene:
    fake: FakeApi
    backend: KubeBackend
    materials: MemoryMaterials

    async def see(self, job: Job, seen: Seen, cause: ReasonCode | None = None) -> Observation:
        """Return the observation once it is that."""
        deadline = time.monotonic() + 20
        while True:
            found = await self.backend.jobs.observe(ref_of(job))
            if found.seen is seen and cause in {None, found.cause}:
                return found
            assert time.monotonic() < deadline, f"not {seen}: {found}"
            await asyncio.sleep(0.01)

    async def waiting(self, job: Job) -> str:
        """Make the attempt and bring its cluster up; return its name."""
        name = ref_of(job).name
        await self.backend.jobs.apply(job)
        self.fake.status(name, "Waiting")
        await self.see(job, Seen.WAITING)
        return name

    async def going(self, job: Job) -> str:
        """Hand the attempt over; return its name."""
        name = await self.waiting(job)
        await self.backend.jobs.apply(job)
        self.fake.ray_jobs[name] |= {"status": "RUNNING", "driver_node_id": "n1", "start_time": 1_700_000_000_000}
        self.fake.status(name, "Running", jobStatus="RUNNING")
        await self.see(job, Seen.RUNNING)
        return name
