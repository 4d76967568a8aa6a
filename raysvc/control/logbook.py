"""Job logs: copied into the blob store while the job runs, and read only from there.

So a log outlives its job, its cluster and Ray. A job's log is its attempts' logs one after the other, each but the
first behind a line that says so; the text only ever grows at its end, so a byte offset stays valid for ever.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from raysvc.control.signal import Signals
from raysvc.domain.job import Job, JobRef
from raysvc.errors import RaysvcError
from raysvc.ports import Blobs, Driver, Jobs

log = structlog.get_logger()

# A follower looks at least this often: another process may be the one that archives.
POLL_S = 0.5
CHUNK = 1 << 18


def blob_key(ref: JobRef) -> str:
    """Return where an attempt's log is kept."""
    return f"logs/{ref.uid}/{ref.attempt}.log"


def separator(attempt: int) -> bytes:
    """Return what stands before an attempt's log."""
    return b"" if attempt == 1 else f"\n[raysvc] ---- attempt {attempt} ----\n".encode()


class Archive:
    """Copies attempts' logs into the blob store, resuming where the blob ends. Run by the reconciler only."""

    def __init__(self, driver: Driver[Job, JobRef], blobs: Blobs, signals: Signals) -> None:
        self._driver = driver
        self._blobs = blobs
        self._signals = signals
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, ref: JobRef) -> None:
        """Make sure the attempt's log is being copied; returns at once, may be repeated."""
        task = self._tasks.get(ref.name)
        if task is None or task.done():
            self._tasks[ref.name] = asyncio.create_task(self._copy_quietly(ref), name=f"archive {ref.name}")

    async def drain(self, ref: JobRef, seconds: float = 10.0) -> None:
        """Copy what is left of an ended attempt's log; gives up, with a line in our log, after that long."""
        await self._cancel(ref.name)
        try:
            async with asyncio.timeout(seconds):
                await self._copy(ref, follow=False)
        except (RaysvcError, TimeoutError) as error:
            log.warning("log not archived to its end", attempt=ref.name, error=str(error) or type(error).__name__)

    async def delete(self, uid: str) -> None:
        """Remove all logs of a job. Absent counts as success."""
        await self._blobs.delete(f"logs/{uid}/")

    async def close(self) -> None:
        """Stop all copying; what is missing is copied by the next holder of the lease."""
        for name in list(self._tasks):
            await self._cancel(name)

    async def _cancel(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _copy_quietly(self, ref: JobRef) -> None:
        try:
            await self._copy(ref, follow=True)
        except RaysvcError as error:
            log.warning("log archive interrupted, will resume", attempt=ref.name, error=error.message)

    async def _copy(self, ref: JobRef, *, follow: bool) -> None:
        key = blob_key(ref)
        size = await self._blobs.size(key)
        async for chunk in self._driver.logs(ref, offset=size, follow=follow):
            size = await self._blobs.append(key, chunk, at=size)
            self._signals.notify(ref.uid)


class LogReader:
    """Reads a job's whole log, from a byte offset, and follows it until the job has ended."""

    def __init__(self, jobs: Jobs, blobs: Blobs, signals: Signals) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._signals = signals

    async def size(self, job: Job) -> int:
        """Return the size in bytes of what is archived so far."""
        sizes = [await self._segment_size(job, n) for n in range(1, job.attempt + 1)]
        return sum(sizes)

    async def span(self, job: Job, attempt: int) -> tuple[int, int]:
        """Return where the log of one attempt begins and ends in the job's, without the line that says its number."""
        before = sum([await self._segment_size(job, n) for n in range(1, attempt)])
        return before + len(separator(attempt)), before + await self._segment_size(job, attempt)

    async def read(self, job: Job, *, offset: int = 0, follow: bool = False) -> AsyncIterator[bytes]:
        """Yield the log's bytes from `offset`. With follow, end only when the job has ended and all is out."""
        attempt, inside = 1, offset
        while True:
            # The job is read before its log: an end that is seen here had its log archived before.
            while attempt <= job.attempt:
                async for chunk in self._segment(job, attempt, inside):
                    inside += len(chunk)
                    yield chunk
                size = await self._segment_size(job, attempt)
                if attempt == job.attempt:
                    break  # it may still grow
                attempt, inside = attempt + 1, max(0, inside - size)
            if not follow or not job.live:
                return
            await self._signals.wait(job.uid, POLL_S)
            job = await self._jobs.get_by_uid(job.uid)

    async def _segment_size(self, job: Job, attempt: int) -> int:
        ref = JobRef(uid=job.uid, attempt=attempt)
        return len(separator(attempt)) + await self._blobs.size(blob_key(ref))

    async def _segment(self, job: Job, attempt: int, inside: int) -> AsyncIterator[bytes]:
        head = separator(attempt)
        if inside < len(head):
            yield head[inside:]
        key = blob_key(JobRef(uid=job.uid, attempt=attempt))
        start = max(0, inside - len(head))
        if start < await self._blobs.size(key):
            async for chunk in self._blobs.read(key, offset=start):
                yield chunk
