"""What a job left behind: its files, and the metrics it reports in one of them."""

from collections.abc import AsyncIterator, Sequence

from raysvc.control.progress import FILE, Progress, Series, fold, latest, thin
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.job import Job
from raysvc.errors import NotFound
from raysvc.ports import ArtifactFile, Artifacts

# Of a longer metrics file only the end is read: 8 MiB are some 80,000 steps, and parse in about 0.3 s.
MOST_METRICS = 8 << 20
TAIL = 1 << 14


class OutputDesk:
    """Reads a job's output. Paths are looked up in the listing, so that none can lead out of it."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def find(self, principal: Principal, job: Job) -> Sequence[ArtifactFile]:
        """Return the job's files, by path."""
        access.authorise(principal, Verb.READ, Resource.JOB, job.project)
        return sorted(await self._artifacts.list(job.uid), key=lambda file: file.path)

    async def get(self, principal: Principal, job: Job, path: str) -> ArtifactFile:
        """Return the file of that path; raises NotFound."""
        for file in await self.find(principal, job):
            if file.path == path:
                return file
        raise NotFound(
            f"Job {job.id} has no artifact {path[:200]!r}. `raysvc job artifacts {job.id}` shows those it has."
        )

    async def read(self, job: Job, file: ArtifactFile, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes of the file from `offset`; fewer only where it became shorter meanwhile."""
        left = length
        async for chunk in self._artifacts.read(job.uid, file.path, offset=offset):
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    async def series(self, principal: Principal, job: Job, limit: int) -> Series:
        """Return the job's metrics, thinned to `limit` points; none where it reports none."""
        lines, whole = await self._lines(principal, job, MOST_METRICS)
        points = fold(lines)
        return Series(points=tuple(thin(points, limit)), total=len(points), truncated=not whole)

    async def progress(self, principal: Principal, job: Job) -> Progress | None:
        """Return how far the job is; None where it does not say."""
        lines, _ = await self._lines(principal, job, TAIL)
        return latest(lines)

    async def _lines(self, principal: Principal, job: Job, most: int) -> tuple[list[bytes], bool]:
        """Return the last whole lines of the metrics file, `most` bytes of them, and whether those are all."""
        if not job.attempt:
            return [], True
        try:
            file = await self.get(principal, job, FILE)
        except NotFound:
            return [], True
        offset = max(0, file.size - most)
        chunks = [chunk async for chunk in self.read(job, file, offset=offset, length=file.size - offset)]
        lines = b"".join(chunks).splitlines()
        return lines[1 if offset else 0 :], offset == 0
