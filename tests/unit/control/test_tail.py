"""A log that many follow is read once, in pieces, and from where it is: never as a whole."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from raysvc.control import logbook, tail
from raysvc.control.excerpt import Window, excerpt, last_lines
from raysvc.control.logbook import LogReader, blob_key
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.reason import ReasonCode, reason
from raysvc.errors import Unavailable
from raysvc.testing.blobs import MemoryBlobs

from .world import Place


class Counted(MemoryBlobs):
    """Counts what it is asked, and the largest piece that it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.largest = self.bytes = 0
        self.away = False

    async def size(self, key: str) -> int:
        self.calls += 1
        if self.away:
            raise Unavailable("The disk is away.")
        return await super().size(key)

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        self.calls += 1
        async for piece in super().read(key, offset=offset, length=length):
            self.largest = max(self.largest, len(piece))
            self.bytes += len(piece)
            yield piece


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(tail, "REST_S", 0)
    monkeypatch.setattr(tail, "POLL_S", 0.01)
    return await Place(blobs=Counted()).open()


@pytest.fixture
async def job(place: Place) -> Job:
    """A job that runs; what it writes is up to the test."""
    job = await place.submit("sleep 1000")
    await place.pass_by(2)
    await place.archive.close()
    return await place.now(job)


async def write(place: Place, job: Job, data: bytes, attempt: int = 1) -> None:
    assert job.ref is not None
    key = blob_key(job.ref.model_copy(update={"attempt": attempt}))
    await place.blobs.append(key, data, at=await MemoryBlobs.size(place.blobs, key))
    place.signals.notify(job.uid)


async def end(place: Place, job: Job) -> None:
    kept = await place.store.jobs.get_by_uid(job.uid)
    after, event = kept.to(JobPhase.SUCCEEDED, reason(ReasonCode.SUCCEEDED), place.clock.now())
    await place.store.jobs.save(after, [event])
    place.signals.notify(job.uid)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0)


class Follower:
    def __init__(self, logs: LogReader, job: Job, offset: int = 0) -> None:
        self.pieces: list[bytes] = []
        self.task = asyncio.create_task(self._read(logs, job, offset))

    async def _read(self, logs: LogReader, job: Job, offset: int) -> None:
        async for piece in logs.read(job, offset=offset, follow=True):
            self.pieces.append(piece)

    @property
    def text(self) -> bytes:
        return b"".join(self.pieces)


async def test_a_hundred_followers_cost_the_store_and_the_disk_one(place: Place, job: Job) -> None:
    assert isinstance(place.blobs, Counted)
    followers = [Follower(place.logs, job) for _ in range(100)]
    await write(place, job, b"begun\n")
    await until(lambda: all(follower.text == b"begun\n" for follower in followers))
    place.blobs.calls = 0
    for number in range(20):
        await write(place, job, b"%d\n" % number)
        await until(lambda last=b"%d\n" % number: all(f.text.endswith(last) for f in followers))  # type: ignore[misc]
    assert place.blobs.calls < 20 * 100 / 4
    await end(place, job)
    await asyncio.gather(*(follower.task for follower in followers))
    whole = b"begun\n" + b"".join(b"%d\n" % number for number in range(20))
    assert {follower.text for follower in followers} == {whole}
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("tail of")]


async def test_who_leaves_last_ends_the_reading(place: Place, job: Job) -> None:
    first, second = Follower(place.logs, job), Follower(place.logs, job)
    await write(place, job, b"x")
    await until(lambda: first.text == second.text == b"x")

    def tails() -> int:
        return sum(task.get_name().startswith("tail of") for task in asyncio.all_tasks())

    assert tails() == 1
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    assert tails() == 1
    second.task.cancel()
    await asyncio.gather(second.task, return_exceptions=True)
    await until(lambda: tails() == 0)


async def test_who_fell_behind_what_is_kept_misses_nothing(
    place: Place, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "KEPT", 16)
    reading = place.logs.read(job, follow=True)
    await write(place, job, b"first\n")
    assert await anext(reading) == b"first\n"
    busy = Follower(place.logs, job)
    for number in range(50):
        await write(place, job, b"line %d\n" % number)
        await until(lambda last=b"%d\n" % number: busy.text.endswith(last))  # type: ignore[misc]
    await end(place, job)
    rest = b"".join([piece async for piece in reading])
    assert b"first\n" + rest == busy.text == b"first\n" + b"".join(b"line %d\n" % number for number in range(50))
    await busy.task


@pytest.mark.parametrize("offset", [0, 3, 6, 30, 45, 1000])
async def test_a_follower_begins_anywhere_and_goes_on_over_attempts(place: Place, job: Job, offset: int) -> None:
    await write(place, job, b"attempt one\n")
    retried = job.model_copy(update={"attempt": 2})
    await write(place, job, b"attempt two\n", attempt=2)
    whole = b"attempt one\n" + logbook.separator(2) + b"attempt two\n" + b"the end\n"
    place.store.jobs._jobs[job.uid] = retried  # noqa: SLF001 the shortest way to a second attempt
    follower = Follower(place.logs, retried, offset)
    await asyncio.sleep(0.02)
    await write(place, job, b"the end\n", attempt=2)
    await end(place, retried)
    await follower.task
    assert follower.text == whole[offset:]


async def test_a_store_that_is_away_for_a_while_cuts_nobody_off(place: Place, job: Job) -> None:
    assert isinstance(place.blobs, Counted)
    follower = Follower(place.logs, job)
    await write(place, job, b"before\n")
    await until(lambda: follower.text == b"before\n")
    place.blobs.away = True
    await write(place, job, b"after\n")
    await asyncio.sleep(0.05)
    place.blobs.away = False
    await until(lambda: follower.text == b"before\nafter\n")
    follower.task.cancel()
    await asyncio.gather(follower.task, return_exceptions=True)


async def test_a_large_log_is_never_read_as_a_whole(place: Place, job: Job) -> None:
    assert isinstance(place.blobs, Counted)
    line = b"z" * 99 + b"\n"
    await write(place, job, line * 200_000)  # 20 MB
    place.blobs.largest = place.blobs.bytes = 0
    piece = await excerpt(place.logs, job, Window(10_000_000, 100_000))
    assert (len(piece.data), piece.next_offset) == (100_000, 10_100_000)
    assert (await excerpt(place.logs, job, Window(-100, 1000))).data == line
    assert await last_lines(place.logs, job, 1000, 8 << 20) == 20_000_000 - 100_000
    assert place.blobs.bytes < 1 << 20
    first = await anext(place.logs.read(job))
    assert len(first) == place.blobs.largest == logbook.PIECE


@pytest.mark.parametrize(
    ("text", "lines", "begins"),
    [
        (b"", 5, 0),
        (b"a", 1, 0),
        (b"a\n", 1, 0),
        (b"a\nb", 1, 2),
        (b"a\nb\n", 1, 2),
        (b"a\nb\n", 2, 0),
        (b"a\nb\n", 3, 0),
        (b"a\n\n\n", 2, 2),
        (b"a\nb\n", 0, 4),
        (b"x" * 100_000 + b"\n" + b"y" * 70_000 + b"\n", 1, 100_001),
        (b"x" * 200_000, 1, 50_000),  # longer than what is looked through
    ],
)
async def test_the_last_lines_are_found_from_the_end(
    place: Place, job: Job, text: bytes, lines: int, begins: int
) -> None:
    if text:
        await write(place, job, text)
    assert await last_lines(place.logs, job, lines, 150_000) == begins
