"""What was acknowledged is there, whatever happens to us, to the disk or to the database."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from raysvc.domain.event import EventKind, fold
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import JobQuery
from raysvc.errors import Damaged, DiskFull, Invalid, NotFound, RaysvcError, Unavailable
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock
from tests.contract.store.database import execute
from tests.contract.store.make import added, moved, new, saved, seconds
from tests.postgres import PostgresServer

ROOT = Path(__file__).parents[3]


async def every_job(store: SqlStore, *, label: tuple[str, str] | None = None) -> list[Job]:
    jobs: list[Job] = []
    query = JobQuery(limit=1000, label=label)
    while True:
        page = await store.jobs.find(query)
        jobs += page.items
        if page.next_cursor is None:
            return jobs
        query = query.model_copy(update={"cursor": page.next_cursor})


def _kill_an_adder(url: str, lines: int) -> dict[str, int]:
    """Return the uids and versions that were acknowledged by one that was killed after so many."""
    promised: dict[str, int] = {}
    command = [sys.executable, "-m", "tests.contract.store.adder", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as adder:
        assert adder.stdout is not None
        for number, line in enumerate(adder.stdout):
            uid, version = line.split()
            promised[uid] = int(version)
            if number == lines:
                adder.send_signal(signal.SIGKILL)  # what is in the pipe by now was acknowledged, too
    assert adder.returncode == -signal.SIGKILL
    return promised


async def test_kill_9_loses_nothing_that_was_acknowledged(url: str) -> None:
    """Killed in the middle of batches, again and again, on one database."""
    promised: dict[str, int] = {}
    for lines in (57, 311, 604):
        promised |= await asyncio.to_thread(_kill_an_adder, url, lines)
    store = SqlStore(url, FakeClock())
    await store.open()
    jobs = {job.uid: job for job in await every_job(store)}
    assert len(promised) > 100
    lost = {uid for uid, version in promised.items() if uid not in jobs or jobs[uid].version < version}
    assert lost == set()
    # What was not acknowledged is there whole, or not at all.
    assert {job.uid for job in await every_job(store, label=("all", "yes"))} == jobs.keys()
    histories = await asyncio.gather(*(store.jobs.events(uid) for uid in jobs))
    for job, history in zip(jobs.values(), histories, strict=True):
        assert Job.model_validate(fold(history)) == job
    await store.close()


async def test_close_commits_what_was_accepted_before(url: str) -> None:
    store = SqlStore(url, FakeClock())
    await store.open()
    adds = [asyncio.create_task(added(store, f"job-{n}")) for n in range(700)]
    await asyncio.sleep(0)
    await store.close()
    jobs = await asyncio.gather(*adds)
    store = SqlStore(url, FakeClock())
    await store.open()
    assert {job.uid for job in await every_job(store)} == {job.uid for job in jobs}
    await store.close()


async def test_one_that_the_database_refuses_fails_alone_and_leaves_nothing(sql: SqlStore, url: str) -> None:
    """A transaction that breaks after its first writes: those beside it must still pass, it must not be half there."""
    poison, events = new("poison", labels={"k": "poison"})
    if url.startswith("sqlite"):
        execute(
            url,
            f"CREATE TRIGGER poison BEFORE INSERT ON event WHEN NEW.uid = '{poison.uid}'"
            " BEGIN SELECT RAISE(ABORT, 'poison'); END",
        )
    else:
        execute(
            url,
            "CREATE FUNCTION poison() RETURNS trigger AS $$ BEGIN RAISE 'poison' USING ERRCODE = '23514'; END $$"
            " LANGUAGE plpgsql",
            f"CREATE TRIGGER poison BEFORE INSERT ON event FOR EACH ROW WHEN (NEW.uid = '{poison.uid}')"
            " EXECUTE FUNCTION poison()",
        )
    try:
        calls = [sql.jobs.add(*new(f"good-{n}", labels={"k": "good"})) for n in range(10)]
        calls.insert(5, sql.jobs.add(poison, events))
        results = await asyncio.gather(*calls, return_exceptions=True)
        [refusal] = [result for result in results if isinstance(result, BaseException)]
        assert isinstance(refusal, RaysvcError)
        assert "bug" in refusal.message
        assert refusal.__cause__ is not None
        assert {job.id for job in await every_job(sql)} == {f"good-{n}" for n in range(10)}
        assert (await sql.jobs.find(JobQuery(label=("k", "poison")))).items == ()
        with pytest.raises(NotFound):
            await sql.jobs.get_by_uid(poison.uid)
    finally:
        execute(url, "DROP TRIGGER poison" if url.startswith("sqlite") else "DROP FUNCTION poison CASCADE")
    assert await sql.jobs.add(poison, events) == poison


@pytest.fixture
def page_limit() -> Iterator[list[int]]:
    """The most pages that SQLite may use, one number in a list: a disk that is full, for SQLite."""
    limit = [1 << 30]

    def connect(connection: object, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute(f"PRAGMA max_page_count = {limit[0]}")

    sa.event.listen(Engine, "connect", connect)
    yield limit
    sa.event.remove(Engine, "connect", connect)


async def _fill(store: SqlStore, entrypoint: str = "x" * 40_000) -> list[Job]:
    """Return the jobs that were accepted before the disk was full; proves that the rest were not."""
    kept: list[Job] = []
    refused: list[str] = []
    while not refused:
        asked = [new(entrypoint=entrypoint) for _ in range(4)]
        results = await asyncio.gather(*(store.jobs.add(*ask) for ask in asked), return_exceptions=True)
        for (job, _), result in zip(asked, results, strict=True):
            if isinstance(result, DiskFull):
                assert "Free some space" in result.message
                refused.append(job.uid)
            else:
                assert result == job
                kept.append(job)
        assert len(kept) < 10_000
    assert {job.uid for job in await every_job(store)} == {job.uid for job in kept}
    return kept


async def _fill_up(store: SqlStore, kept: list[Job]) -> None:
    """Add one by one, since there may be room for one where there is none for four."""
    while True:
        kept.append(await added(store, entrypoint="x" * 60_000))


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path, page_limit: list[int]) -> None:
    url = f"sqlite:///{tmp_path}/full.db"
    page_limit[0] = 300
    store = SqlStore(url, FakeClock())
    await store.open()
    kept = await _fill(store)
    with pytest.raises(DiskFull):
        await _fill_up(store, kept)
    page_limit[0] = 1 << 30
    after = await added(store, entrypoint="x" * 60_000)
    assert {job.uid for job in await every_job(store)} == {after.uid, *(job.uid for job in kept)}
    await store.close()


async def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (1 << 20))
    store = SqlStore(f"sqlite:///{small_disk}/full.db", FakeClock())
    await store.open()
    kept = await _fill(store)
    ballast.unlink()
    after = await added(store)
    await store.close()
    store = SqlStore(f"sqlite:///{small_disk}/full.db", FakeClock())
    await store.open()
    assert {job.uid for job in await every_job(store)} == {after.uid, *(job.uid for job in kept)}
    await store.close()


async def test_postgres_says_disk_full_in_the_same_words(postgres: PostgresServer, database: str) -> None:
    url = postgres.url(database)
    store = SqlStore(url, FakeClock())
    await store.open()
    execute(
        url,
        "CREATE FUNCTION full_disk() RETURNS trigger AS $$ BEGIN RAISE 'full' USING ERRCODE = '53100'; END $$"
        " LANGUAGE plpgsql",
        "CREATE TRIGGER full_disk BEFORE INSERT ON job EXECUTE FUNCTION full_disk()",
    )
    try:
        with pytest.raises(DiskFull, match="Free some space"):
            await added(store)
    finally:
        execute(url, "DROP FUNCTION full_disk CASCADE")
    job = await added(store)
    assert await store.jobs.get_by_uid(job.uid) == job
    await store.close()


async def test_postgres_may_go_and_come_back(postgres: PostgresServer, database: str) -> None:
    store = SqlStore(postgres.url(database), FakeClock())
    await store.open()
    before = await added(store)
    postgres.stop()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="does not answer"):
                await added(store)
            with pytest.raises(Unavailable, match="does not answer"):
                await store.jobs.get_by_uid(before.uid)
    finally:
        postgres.start()
    assert await store.jobs.get_by_uid(before.uid) == before
    after = await added(store)
    assert await store.jobs.get_by_uid(after.uid) == after
    await store.close()


async def test_a_restart_of_postgres_between_two_calls_is_not_noticed(postgres: PostgresServer, database: str) -> None:
    store = SqlStore(postgres.url(database), FakeClock())
    await store.open()
    job = await added(store)
    await store.jobs.get_by_uid(job.uid)
    postgres.stop()
    postgres.start()
    assert await store.jobs.get_by_uid(job.uid) == job
    after = await asyncio.gather(*(added(store) for _ in range(3)))
    assert {job.uid for job in await every_job(store)} >= {job.uid, *(job.uid for job in after)}
    await store.close()


async def test_postgres_that_is_not_there_is_unavailable(postgres: PostgresServer) -> None:
    for url in (postgres.url("no_such_database"), "postgresql://localhost:1/none"):
        with pytest.raises(Unavailable):
            await SqlStore(url, FakeClock()).open()


async def test_a_text_that_postgres_cannot_keep_is_invalid(postgres: PostgresServer, database: str) -> None:
    store = SqlStore(postgres.url(database), FakeClock())
    await store.open()
    with pytest.raises(Invalid, match="NUL"):
        await added(store, name="a\x00b")
    await store.close()


async def test_a_database_that_is_locked_is_unavailable_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysvc.store.engine._BUSY_S", 0.1)
    store = SqlStore(f"sqlite:///{tmp_path}/raysvc.db", FakeClock())
    await store.open()
    before = await added(store)
    other = sqlite3.connect(tmp_path / "raysvc.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="another process"):
        await added(store)
    assert await store.jobs.get_by_uid(before.uid) == before
    other.execute("ROLLBACK")
    other.close()
    await added(store)
    await store.close()


async def test_a_damaged_file_is_unavailable_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "raysvc.db"
    store = SqlStore(f"sqlite:///{file}", FakeClock())
    await store.open()
    job = await moved(store, await added(store, entrypoint="x" * 50_000), JobPhase.FAILED, finished_at=seconds(1))
    await saved(store, job, EventKind.FINALISED, finalised=True)
    await store.close()
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xff" * (file.stat().st_size - 4096))
    store = SqlStore(f"sqlite:///{file}", FakeClock())
    with pytest.raises(Damaged, match=r"damaged.*backup"):
        await store.open()
    file.write_bytes(b"This is not a database. " * 1000)
    with pytest.raises(Damaged, match="not a database"):
        await SqlStore(f"sqlite:///{file}", FakeClock()).open()


async def test_a_folder_that_is_missing_is_unavailable_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="directory exists"):
        await SqlStore(f"sqlite:///{tmp_path}/missing/raysvc.db", FakeClock()).open()
