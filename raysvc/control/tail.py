"""The growing end of a log, read once for all who follow it.

Two hundred followers of a job would otherwise look at the same file and the same record, each by itself, at each line.
A Tail is there while somebody follows the job. It keeps the last of what came, and who has fallen behind that reads the
blobs until he has caught up.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from raysvc.control.signal import POLL_S, Signals
from raysvc.domain.job import Job
from raysvc.errors import Unavailable
from raysvc.ports import Jobs

# What a tail keeps, bytes: some seconds of a busy job.
KEPT = 1 << 18
# Rest after news, seconds for each follower and at most: two hundred of them then take a fifth of a core.
REST_S = 0.002
LONGEST_REST_S = 0.2


@dataclass
class Place:
    """A place in a job's log: so many bytes into the log of an attempt, the line before it included."""

    attempt: int
    inside: int


class Source(Protocol):
    """The log as it is kept."""

    async def end(self, job: Job) -> tuple[Place, int]:
        """Return the place where the log ends now, and its offset in bytes."""

    def since(self, job: Job, place: Place) -> AsyncGenerator[bytes, None]:
        """Yield what is there from a place on, and move the place along."""


@dataclass
class Tail:
    """What is kept of a log, from byte `start` to `end`; None: it is not known yet where that is."""

    job: Job
    start: int = 0
    end: int | None = None
    over: bool = False
    error: Exception | None = None
    followers: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    kept: bytearray = field(default_factory=bytearray)

    def piece(self, offset: int) -> bytes:
        """Return what is kept from there on; raises what ended the tail before its job."""
        if self.error is not None:
            raise self.error
        return b"" if self.end is None or offset >= self.end else bytes(self.kept[offset - self.start :])

    def add(self, data: bytes) -> None:
        self.kept += data
        del self.kept[:-KEPT]
        self.end = (self.end or 0) + len(data)
        self.start = self.end - len(self.kept)

    def tell(self) -> None:
        """Wake all who wait. Whoever waits took the event before he looked, so that none is missed."""
        told, self.news = self.news, asyncio.Event()
        told.set()


class Tails:
    """The tails of the jobs that somebody follows, each with the task that reads it."""

    def __init__(self, jobs: Jobs, signals: Signals, source: Source) -> None:
        self._jobs = jobs
        self._signals = signals
        self._source = source
        self._tails: dict[str, tuple[Tail, asyncio.Task[None]]] = {}

    @contextmanager
    def join(self, job: Job) -> Iterator[Tail]:
        """Follow the job while the block runs."""
        tail, task = self._tails.get(job.uid) or self._begin(job)
        tail.followers += 1
        try:
            yield tail
        finally:
            tail.followers -= 1
            if not tail.followers:
                task.cancel()
                self._forget(tail)

    def _begin(self, job: Job) -> tuple[Tail, asyncio.Task[None]]:
        tail = Tail(job)
        self._tails[job.uid] = tail, asyncio.create_task(self._watch(tail), name=f"tail of {job.uid}")
        return self._tails[job.uid]

    def _forget(self, tail: Tail) -> None:
        if self._tails.get(tail.job.uid, (None,))[0] is tail:
            del self._tails[tail.job.uid]

    async def _watch(self, tail: Tail) -> None:
        try:
            place, tail.start = await self._source.end(tail.job)
            tail.end = tail.start
            tail.tell()
            while not tail.over:
                # A store or a disk that is away for a while is no reason to cut off those who read.
                with suppress(Unavailable):
                    await self._grow(tail, place)
                if not tail.over:
                    await self._signals.wait(tail.job.uid, POLL_S)
        except Exception as error:  # noqa: BLE001 its followers raise it
            tail.error = error
        finally:
            self._forget(tail)
            tail.tell()

    async def _grow(self, tail: Tail, place: Place) -> None:
        before = tail.end
        # The job is read before its log: an end that is seen here had its log archived before.
        tail.job = await self._jobs.get_by_uid(tail.job.uid)
        async with aclosing(self._source.since(tail.job, place)) as pieces:
            async for piece in pieces:
                tail.add(piece)
        tail.over = not tail.job.live
        if tail.end != before and not tail.over:
            tail.tell()
            await asyncio.sleep(min(LONGEST_REST_S, REST_S * tail.followers))
