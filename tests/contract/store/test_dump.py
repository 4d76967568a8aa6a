"""A database as rows, and back: into the other kind of database, by a later version, or not at all."""

from pathlib import Path

import pytest

from raysvc.domain.event import fold
from raysvc.domain.job import Job
from raysvc.errors import DataDirError, Invalid
from raysvc.store import SqlStore
from raysvc.store.dump import Row, filling, snapshot
from raysvc.store.migration import OURS, Migrations
from raysvc.store.schema import HEAD
from raysvc.testing.clock import FakeClock
from tests.contract.store.make import added
from tests.contract.store.test_migration import later, reopen, schema_of


async def dumped(url: str) -> dict[str, list[Row]]:
    """Return the rows of a database with a job and a flag."""
    store = await reopen(url)
    await added(store, "a", labels={"k": "é"})
    await store.flags.put("f", "v")
    await store.close()
    with snapshot(url) as moment:
        assert moment.schema == HEAD
        return {table: list(moment.rows(table)) for table in moment.tables}


def filled(url: str, rows: dict[str, list[Row]], migrations: Migrations = OURS) -> None:
    with filling(url, HEAD, migrations) as tables:
        for table, found in rows.items():
            tables.add(table, found)


async def test_rows_of_this_version_are_taken_and_migrated_by_the_next(url: str, blank: str, tmp_path: Path) -> None:
    rows = await dumped(url)
    migrations = later(tmp_path / "later")
    filled(blank, rows, migrations)
    store = SqlStore(blank, FakeClock(), migrations=migrations)
    await store.open()
    job = await store.jobs.get("default", "a")
    assert Job.model_validate(fold(await store.jobs.events(job.uid))) == job
    assert await store.flags.get("f") == "v"
    await store.close()
    assert "later" in schema_of(blank)


async def test_rows_that_do_not_fit_leave_the_database_empty(url: str, blank: str) -> None:
    rows = await dumped(url)
    for table, row in (("flag", {"name": "x"}), ("flag", {"name": "x", "value": "y", "z": 1}), ("nobody", {"a": 1})):
        with pytest.raises(Invalid, match=rf"table '{table}'"):
            filled(blank, {"job": rows["job"], table: [row]})
        assert schema_of(blank) == {}
    with pytest.raises(DataDirError, match="install the newer one"), filling(blank, "9999"):
        pass


async def test_a_database_in_use_is_not_filled(url: str) -> None:
    with pytest.raises(DataDirError, match="in use already"), filling(url, HEAD):
        pass


async def test_nothing_ours_is_no_snapshot(blank: str, tmp_path: Path) -> None:
    if blank.startswith("sqlite"):
        with pytest.raises(DataDirError, match="no database"), snapshot(blank):
            pass
        (tmp_path / "blank.db").touch()
    with pytest.raises(DataDirError, match="is empty"), snapshot(blank):
        pass


async def test_what_is_written_meanwhile_is_not_seen(url: str) -> None:
    rows = await dumped(url)
    store = await reopen(url)
    with snapshot(url) as moment:
        await added(store, "b")
        await store.flags.put("f", "other")
        assert {table: list(moment.rows(table)) for table in moment.tables} == rows
    await store.close()
