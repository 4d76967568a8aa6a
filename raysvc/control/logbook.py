"""Job logs: copied into the blob store while the job runs, and read only from there.

So a log outlives its job, its cluster and Ray. A job's log is its attempts' logs one after the other, each but the
first behind a line that says so; the text only ever grows at its end, so a byte offset stays valid for ever.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import structlog

from raysvc.control.signal import Signals
from raysvc.control.tail import Place, Tails
from raysvc.domain.job import Job, JobRef
from raysvc.errors import Conflict, RaysvcError, Unavailable
from raysvc.ports import Blobs, Driver, Jobs

log = structlog.get_logger()

# What is read at once, bytes: of 200 readers that are slow, it is what each keeps waiting.
PIECE = 1 << 17
# How long one try at the rest of a log may take, how long the end of a job waits for its log, and how long it is tried
# again after that: as long as an ended job's last attempt stays on its cluster.
TRY_S = 10.0
PATIENCE_S = 60.0
LAST_S = 3600.0
# How often a log is begun anew where it has grown under its copier.
_COPIES = 5


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
        self._whole: set[str] = set()
        self._failing: dict[str, float] = {}

    def follow(self, ref: JobRef) -> None:
        """Make sure the attempt's log is being copied; returns at once, may be repeated."""
        task = self._tasks.get(ref.name)
        if task is None or task.done():
            self._tasks[ref.name] = asyncio.create_task(self._copy_quietly(ref), name=f"archive {ref.name}")

    async def drain(self, ref: JobRef, patience_s: float = PATIENCE_S) -> None:
        """Copy what is left of an ended attempt's log.

        Raises Unavailable where it does not work now, to be tried again; gives up, with a line in our log, where it
        has not worked for `patience_s`.
        """
        await self._cancel(ref.name)
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(TRY_S):
                await self._copy(ref, follow=False)
        except (RaysvcError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            if now - self._failing.setdefault(ref.name, now) < patience_s:
                raise Unavailable(f"The log of {ref.name} is not archived to its end yet: {why}") from error
            log.warning("log not archived to its end", attempt=ref.name, error=why)
        else:
            self._whole.add(ref.name)

    async def finish(self, refs: Sequence[JobRef]) -> None:
        """Drain those logs of a job that has ended that `drain` gave up, or another process did.

        Raises Unavailable as `drain` does.
        """
        names = [ref.name for ref in refs]
        for ref in refs:
            if ref.name not in self._whole:
                await self.drain(ref, LAST_S)
        self._whole.difference_update(names)
        for name in names:
            self._failing.pop(name, None)

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
        for tries_left in reversed(range(_COPIES)):
            try:
                await self._copy_on(ref, follow=follow)
                break
            except Conflict:
                # A leader that was held up has come to append what it had read: the same bytes, so go on behind them.
                if not tries_left:
                    raise

    async def _copy_on(self, ref: JobRef, *, follow: bool) -> None:
        key = blob_key(ref)
        size = await self._blobs.size(key)
        async for chunk in self._driver.logs(ref, offset=size, follow=follow):
            size = await self._blobs.append(key, chunk, at=size)
            self._signals.notify(ref.uid)


class LogReader:
    """Reads a job's whole log, from a byte offset, and follows it until the job has ended."""

    def __init__(self, jobs: Jobs, blobs: Blobs, signals: Signals) -> None:
        self._blobs = blobs
        self._tails = Tails(jobs, signals, self)

    async def size(self, job: Job) -> int:
        """Return the size in bytes of what is archived so far."""
        _, size = await self.end(job)
        return size

    async def span(self, job: Job, attempt: int) -> tuple[int, int]:
        """Return where the log of one attempt begins and ends in the job's, without the line that says its number."""
        before = sum([await self._segment_size(job, n) for n in range(1, attempt)])
        return before + len(separator(attempt)), before + await self._segment_size(job, attempt)

    async def read(self, job: Job, *, offset: int = 0, follow: bool = False) -> AsyncGenerator[bytes, None]:
        """Yield the log's bytes from `offset`, at most PIECE at once: nobody's reading keeps more than that in memory.

        With follow, end only when the job has ended and all is out.
        """
        pieces = self._follow(job, offset) if follow and job.live else self.since(job, Place(1, offset))
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _follow(self, job: Job, offset: int) -> AsyncGenerator[bytes, None]:
        with self._tails.join(job) as tail:
            while True:
                news, end = tail.news, tail.end
                if end is not None and offset < tail.start:
                    async with aclosing(self.since(tail.job, Place(1, offset))) as pieces:
                        async for piece in pieces:
                            offset += len(piece)
                            yield piece
                elif piece := tail.piece(offset):
                    offset += len(piece)
                    yield piece
                elif tail.over:
                    return
                else:
                    await news.wait()

    async def end(self, job: Job) -> tuple[Place, int]:
        """Return the place where the log ends now, and its offset in bytes."""
        sizes = [await self._segment_size(job, n) for n in range(1, job.attempt + 1)]
        return Place(max(1, job.attempt), sizes[-1] if sizes else 0), sum(sizes)

    async def since(self, job: Job, place: Place) -> AsyncGenerator[bytes, None]:
        """Yield what is there from a place on, and move the place along."""
        while place.attempt <= job.attempt:
            async for piece in self._segment(job, place):
                place.inside += len(piece)
                yield piece
            if place.attempt == job.attempt:
                return  # it may still grow
            size = await self._segment_size(job, place.attempt)
            place.attempt, place.inside = place.attempt + 1, max(0, place.inside - size)

    async def _segment_size(self, job: Job, attempt: int) -> int:
        ref = JobRef(uid=job.uid, attempt=attempt)
        return len(separator(attempt)) + await self._blobs.size(blob_key(ref))

    async def _segment(self, job: Job, place: Place) -> AsyncIterator[bytes]:
        head = separator(place.attempt)
        if place.inside < len(head):
            yield head[place.inside :]
        key = blob_key(JobRef(uid=job.uid, attempt=place.attempt))
        start, size = max(0, place.inside - len(head)), await self._blobs.size(key)
        while start < size:
            before = start
            async for piece in self._blobs.read(key, offset=start, length=min(PIECE, size - start)):
                start += len(piece)
                yield piece
            if start == before:
                return  # it was deleted meanwhile
