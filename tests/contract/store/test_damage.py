"""A file that was damaged is noticed, said, and not built upon; a disk that turns read-only loses nothing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random

import pytest

from raysvc.domain.event import fold
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import JobQuery
from raysvc.errors import Damaged, Unavailable
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock
from tests.contract.store.database import execute
from tests.contract.store.make import added, moved, new
from tests.small_disk import FailingDisk, failing_disk

__all__ = ["failing_disk"]

PAGE = 4096  # bytes, SQLite's default


@asynccontextmanager
async def opened(file: Path, clock: FakeClock | None = None) -> AsyncIterator[SqlStore]:
    store = SqlStore(f"sqlite:///{file}", clock or FakeClock())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def every_job(store: SqlStore) -> dict[str, Job]:
    jobs: dict[str, Job] = {}
    query = JobQuery(limit=1000)
    while True:
        page = await store.jobs.find(query)
        jobs |= {job.uid: job for job in page.items}
        if page.next_cursor is None:
            return jobs
        query = query.model_copy(update={"cursor": page.next_cursor})


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A database with a few hundred pages."""
    file = tmp_path / "raysvc.db"
    async with opened(file) as store:
        await asyncio.gather(*(added(store, entrypoint="x" * 3000) for _ in range(300)))
    return file


def damage(file: Path, table: str) -> None:
    """Overwrite the head of a table's first page, as a disk does that has put it elsewhere."""
    with closing(sqlite3.connect(file)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    with file.open("r+b") as whole:
        whole.seek((page - 1) * PAGE)
        whole.write(b"\xa5" * 64)


async def test_a_damaged_page_that_nobody_reads_is_found_in_the_background(file: Path) -> None:
    clock = FakeClock()
    damage(file, "secret")
    async with opened(file, clock) as store:
        watch = asyncio.create_task(store.watch())
        before = await added(store)
        assert await store.jobs.get_by_uid(before.uid) == before
        assert store.damage() is None
        await clock.run(60)
        await asyncio.wait_for(watch, 120)
        found = store.damage()
        assert found is not None
        for said in (str(file), "raysvc restore", "newest backup"):
            assert said in found.message
        for use in (lambda: store.jobs.get_by_uid(before.uid), lambda: added(store), lambda: store.flags.get("a")):
            with pytest.raises(Damaged, match="this server stops"):
                await use()


@pytest.mark.parametrize("use", ["read", "write"])
async def test_who_meets_a_damaged_page_is_told_and_the_store_goes_no_further(file: Path, use: str) -> None:
    damage(file, "job")
    async with opened(file) as store:
        watch = asyncio.create_task(store.watch())
        call: Callable[[], Awaitable[object]] = (lambda: every_job(store)) if use == "read" else (lambda: added(store))
        with pytest.raises(Damaged):
            await call()
        await asyncio.wait_for(watch, 120)
        with pytest.raises(Damaged, match="this server stops"):
            await store.leases.acquire("a", "b", now=FakeClock().now(), ttl_s=1)


async def test_a_record_that_makes_no_sense_is_said_and_the_others_are_served(file: Path) -> None:
    """A byte within a text is nothing that SQLite could notice."""
    async with opened(file) as store:
        good, bad = await added(store), await added(store)
    execute(f"sqlite:///{file}", f"UPDATE job SET body = replace(body, 'QUEUED', 'QUEUEE') WHERE uid = '{bad.uid}'")  # noqa: S608
    async with opened(file) as store:
        with pytest.raises(Unavailable, match=r"record.*cannot be read.*restore"):
            await store.jobs.get_by_uid(bad.uid)
        assert await store.jobs.get_by_uid(good.uid) == good
        assert store.damage() is None


async def test_a_sound_file_is_examined_each_day_and_nothing_is_said(file: Path) -> None:
    clock = FakeClock()
    async with opened(file, clock) as store:
        watch = asyncio.create_task(store.watch())
        await clock.run(10)
        deadline = asyncio.get_running_loop().time() + 120
        while not clock.sleeping:  # examined, and waiting for the next day
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        assert store.damage() is None
        damage(file, "secret")
        await clock.run(86_400)
        await asyncio.wait_for(watch, 120)
        assert store.damage() is not None


async def test_of_a_log_that_was_cut_or_altered_a_beginning_is_kept_and_nothing_by_halves(tmp_path: Path) -> None:
    """SQLite takes a damaged log for one that ends there: what came after is gone, and cannot be noticed."""
    file = tmp_path / "raysvc.db"
    log = file.with_name("raysvc.db-wal")
    order: list[str] = []
    async with opened(file) as store:
        for _ in range(40):
            order.append((await added(store, labels={"a": "b"})).uid)
            await moved(store, await store.jobs.get_by_uid(order[-1]), JobPhase.RUNNING)
        kept = {path: path.read_bytes() for path in (file, log)}
    random, lengths = Random(5), set()  # noqa: S311 the same places each time
    for turn in range(12):
        copy = tmp_path / f"{turn}" / "raysvc.db"
        copy.parent.mkdir()
        copy.write_bytes(kept[file])
        data = bytearray(kept[log])
        place = random.randrange(len(data))
        if turn % 2:
            data[place] ^= 0x40
        else:
            del data[place:]
        copy.with_name("raysvc.db-wal").write_bytes(data)
        async with opened(copy) as store:
            jobs = await every_job(store)
            assert set(order[: len(jobs)]) == jobs.keys()
            for uid, job in jobs.items():
                assert Job.model_validate(fold(await store.jobs.events(uid))) == job
            await added(store)
        lengths.add(len(jobs))
    assert len(lengths) > 3


async def test_a_disk_that_turns_read_only_refuses_and_keeps_what_was_accepted(failing_disk: FailingDisk) -> None:
    file = failing_disk.path / "raysvc.db"
    async with opened(file) as store:
        kept = {job.uid: job for job in [await added(store) for _ in range(20)]}
        failing_disk.fail()
        for _ in range(3):
            results = await asyncio.gather(*(store.jobs.add(*new()) for _ in range(5)), return_exceptions=True)
            for result in results:
                assert isinstance(result, Unavailable), result
                assert not isinstance(result, Damaged)
                assert "disk" in result.message or "cannot be written" in result.message
        assert store.damage() is None
        assert await every_job(store) == kept
    failing_disk.again()
    async with opened(file) as store:
        assert await every_job(store) == kept
        await added(store)


async def test_a_database_on_a_read_only_disk_is_refused_and_says_so(failing_disk: FailingDisk) -> None:
    file = failing_disk.path / "raysvc.db"
    async with opened(file) as store:
        await added(store)
    failing_disk.fail()
    with pytest.raises(Unavailable, match=r"disk|cannot be (written|opened)"):
        async with opened(file) as store:
            await added(store)
