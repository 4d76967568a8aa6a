"""The real `raysvc up` on a cluster that is none: each attempt runs, and none ever ends.

`python -m benchmarks.history.serve DATA_DIR PLACED`: the store is DATA_DIR/raysvc.db, and PLACED jobs fill the cluster.
What a cluster costs is not measured here; all else is the server's own: its start, its loops, its HTTP front. How often
each job was looked at is in DATA_DIR/looks afterwards.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from benchmarks.history.build import CLUSTER
from raysvc.bootstrap import serve
from raysvc.bootstrap.log import configure
from raysvc.control.platform import Parts
from raysvc.domain.job import JobRef
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.resources import Resources
from raysvc.settings import Settings
from raysvc.testing.backend import FakeBackend, FakeJobs

_RUNNING = Observation(seen=Seen.RUNNING, node="node-0")


class SteadyBackend(FakeBackend):
    """A cluster that is full, and whose jobs run for ever."""

    def __init__(self, parts: Parts, placed: int) -> None:
        super().__init__(parts.clock, parts.vault)
        self.steady = self.jobs = SteadyJobs(self)
        size = {"resources": Resources(cpus=placed), "max_running_jobs": placed}
        self.cluster = self.cluster.model_copy(update={"name": CLUSTER, **size})


class SteadyJobs(FakeJobs):
    """Answers for each attempt that it runs; its logs stay silent."""

    def __init__(self, backend: FakeBackend) -> None:
        super().__init__(backend)
        self.seen: dict[str, int] = {}

    async def observe(self, ref: JobRef) -> Observation:
        self.seen[ref.name] = self.seen.get(ref.name, 0) + 1
        return _RUNNING

    async def owned(self) -> AsyncIterator[JobRef]:
        for name in list(self.seen):
            if (ref := JobRef.parse(name)) is not None:
                yield ref

    async def logs(self, ref: JobRef, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        del ref, offset
        while follow:
            await asyncio.Event().wait()
            yield b""


async def _main(data_dir: Path, placed: int) -> None:
    jobs: list[SteadyJobs] = []

    def alter(parts: Parts) -> Parts:
        backend = SteadyBackend(parts, placed)
        jobs.append(backend.steady)
        return replace(parts, backend=backend)

    settings = Settings(data_dir=data_dir, port=0, keep_finished_days=None)
    try:
        await serve(settings, lambda _: None, alter)
    finally:
        looks = jobs[0].seen.values() if jobs else ()
        (data_dir / "looks").write_text(" ".join(map(str, looks)))


if __name__ == "__main__":
    configure(human=False)
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
