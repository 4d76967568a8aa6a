"""A lab whose jobs are handed over as the reconciler would: by a further apply once their cluster stands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from raysvc.backends.kuberay import KubeBackend
from raysvc.domain.job import Job, JobRef
from raysvc.domain.observation import ENDED, Observation, Seen
from tests.contract.backend.lab import Found, Lab, MemoryMaterials, SystemClock, ref_of

# A cluster takes 20 s on an idle machine of two cores, and three at once a minute.
SLOWER = 5


class Nudged:
    """The driver, with the reconciler's part in it."""

    def __init__(self, backend: KubeBackend) -> None:
        self._jobs = backend.jobs
        self._pumps: dict[str, asyncio.Task[None]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    async def apply(self, record: Job) -> None:
        await self._jobs.apply(record)
        name = ref_of(record).name
        if name not in self._pumps:
            self._pumps[name] = asyncio.create_task(self._pump(record))

    async def observe(self, ref: JobRef) -> Observation:
        """What waits for us to hand it over is pending, for who looks from outside."""
        seen = await self._jobs.observe(ref)
        return seen.model_copy(update={"seen": Seen.PENDING}) if seen.seen is Seen.WAITING else seen

    async def close(self) -> None:
        for pump in self._pumps.values():
            pump.cancel()
        await asyncio.gather(*self._pumps.values(), return_exceptions=True)

    async def _pump(self, record: Job) -> None:
        while (seen := (await self._jobs.observe(ref_of(record))).seen) not in ENDED | {Seen.ABSENT, Seen.RUNNING}:
            if seen is Seen.WAITING:
                await self._jobs.apply(record)
            await asyncio.sleep(0.2)


class KubeLab(Lab):
    async def until(self, look: Callable[[], Awaitable[Found | None]], seconds: float = 60) -> Found:
        return await super().until(look, seconds * SLOWER)

    @classmethod
    @asynccontextmanager
    async def around(
        cls, backend: KubeBackend, clock: SystemClock, materials: MemoryMaterials
    ) -> AsyncIterator["KubeLab"]:
        """Yield the lab; at the end nothing of ours is left on the cluster."""
        nudged, inner = Nudged(backend), backend.jobs
        backend.jobs = nudged  # type: ignore[assignment]
        try:
            yield cls(backend, clock, materials, asyncio.sleep)
        finally:
            await nudged.close()
            refs = [ref async for ref in inner.owned()]
            await asyncio.gather(*(inner.delete(ref) for ref in refs))
            assert [ref async for ref in inner.owned()] == []
