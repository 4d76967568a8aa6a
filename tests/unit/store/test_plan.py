"""What SQLite does for each query: an index is walked in the order of the page, and nothing is sorted or scanned."""

import base64
import re
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from raysvc.domain.job import JobPhase
from raysvc.domain.query import JobQuery
from raysvc.errors import NotFound
from raysvc.ports import Addition
from raysvc.store import job_find, job_read, job_write
from raysvc.store.engine import open_writer, parse
from raysvc.store.job_row import NewJob
from raysvc.store.schema import metadata
from tests.contract.store.make import START, new

UID = "0" * 16
CURSOR = base64.urlsafe_b64encode(f"5 {UID}".encode()).decode()


# The order in which indexes were made decides among equals; a plan must not hang on it.
@pytest.fixture(params=[False, True], ids=["", "indexes reversed"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = open_writer(parse(f"sqlite:///{tmp_path}/raysvc.db"))
    with engine.begin() as connection:
        metadata.create_all(connection)
        for table in metadata.sorted_tables:
            for index in sorted(table.indexes, key=lambda index: str(index.name), reverse=request.param):
                index.drop(connection)
                index.create(connection)
    yield engine
    engine.dispose()


def plans_of(engine: Engine, work: Any) -> list[str]:
    """Return the steps of all that `work(connection)` makes SQLite do."""
    steps: list[str] = []

    def explain(
        connection: Connection, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        del connection
        first = parameters[0] if many else parameters
        raw: sqlite3.Connection = cursor.connection
        steps.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", first))

    sa.event.listen(engine, "before_cursor_execute", explain)
    with engine.begin() as connection:
        work(connection)
    sa.event.remove(engine, "before_cursor_execute", explain)
    return steps


def scans(step: str) -> bool:
    """Return whether a whole table is read, or a whole index that is not small by itself."""
    return re.match(r"SCAN (job|event|label)\b(?! USING COVERING INDEX job_waiting)", step) is not None


FINDS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "job_phase (phase=?)"),
    "a phase": ({"phases": (JobPhase.RUNNING,)}, "job_phase (phase=?)"),
    "projects": ({"projects": ("a", "b")}, "job_project (project=? AND phase=?)"),
    "an owner": ({"owner": "ann"}, "job_owner (owner=? AND phase=?)"),
    "an owner and more": (
        {"owner": "ann", "projects": ("a",), "phases": (JobPhase.FAILED,)},
        "job_owner (owner=? AND phase=?)",
    ),
    "a label": ({"label": ("a", "b")}, "label_value (key=? AND value=?)"),
    "a label and more": (
        {"label": ("a", "b"), "owner": "ann", "projects": ("a",), "phases": (JobPhase.FAILED,)},
        "label_value (key=? AND value=?)",
    ),
    "a label of live jobs": (
        {"label": ("a", "b"), "phases": (JobPhase.RUNNING,)},
        "job_phase (phase=?)",
    ),
    "a range": (
        {"projects": ("a",), "created_after": START, "created_before": START},
        "job_project (project=? AND phase=? AND created_at>? AND ",
    ),
}


@pytest.mark.parametrize("name", FINDS)
@pytest.mark.parametrize("cursor", [None, CURSOR], ids=["first page", "next page"])
def test_a_page_of_many_is_a_walk_along_an_index(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, cursor: str | None
) -> None:
    monkeypatch.setattr("raysvc.store.job_find._FEW", -1)
    filters, index = FINDS[name]
    query = JobQuery(**filters, cursor=cursor)
    steps = plans_of(engine, lambda connection: job_find.find(connection, query))
    assert any(index.rstrip(")") in step for step in steps), steps
    assert not [step for step in steps if "TEMP B-TREE" in step or scans(step)]


def test_a_next_page_within_a_range_begins_at_the_cursor_and_not_at_the_range(engine: Engine) -> None:
    query = JobQuery(projects=("a",), created_before=START, cursor=CURSOR)
    steps = plans_of(engine, lambda connection: job_find.find(connection, query))
    walks = [step for step in steps if "job_project" in step]
    assert walks
    assert all("(created_at,uid)<(?,?)" in step for step in walks), walks


# Each by its own way, with every other filter to be checked on the way: none is looked up in the table for that.
CHECKED = {"owner": "ann", "projects": ("a",), "phases": (JobPhase.FAILED,), "name_prefix": "train-"}


@pytest.mark.parametrize("without", [(), ("owner",), ("owner", "projects")])
@pytest.mark.parametrize("label", [None, ("a", "b")])
def test_what_is_skipped_costs_no_look_at_the_table(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, without: tuple[str, ...], label: tuple[str, str] | None
) -> None:
    monkeypatch.setattr("raysvc.store.job_find._FEW", -1)
    monkeypatch.setattr("raysvc.store.job_find._FEW_APART", -1)
    monkeypatch.setattr("raysvc.store.job_find._MOST_APART", 0)  # so that no walk is along the labels
    filters = {name: value for name, value in CHECKED.items() if name not in without}
    steps = plans_of(engine, lambda connection: job_find.find(connection, JobQuery(**filters, label=label)))
    searches = [step for step in steps if "SEARCH" in step and "USING INDEX sqlite_autoindex" not in step]
    assert searches
    assert not [step for step in searches if "COVERING" not in step], searches


def test_by_a_name_few_are_read_from_the_index_alone(engine: Engine) -> None:
    steps = plans_of(engine, lambda connection: job_find.find(connection, JobQuery(**CHECKED)))
    assert not [step for step in steps if "SEARCH job" in step and "COVERING" not in step], steps


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({"name_prefix": "a"}, "job_name (name>? AND name<?)"),
        ({"name_prefix": "a", "owner": "ann"}, "job_name (name>? AND name<?)"),
        ({"label": ("a", "b"), "owner": "ann"}, "label_value (key=? AND value=?)"),
        ({"projects": tuple("abcdefghijklmn")}, "job_project (project=?)"),
        ({"owner": "a", "projects": ("b",), "phases": (JobPhase.FAILED,)}, "job_owner (owner=? AND phase=?)"),
    ],
)
def test_of_few_only_those_are_read(engine: Engine, filters: dict[str, Any], index: str) -> None:
    steps = plans_of(engine, lambda connection: job_find.find(connection, JobQuery(**filters)))
    assert sum(index in step for step in steps) == 2, steps  # to count them, then to read them
    assert not [step for step in steps if scans(step)]


def _get(connection: Connection) -> None:
    with suppress(NotFound):
        job_read.get(connection, "a", "b")


READS: dict[str, tuple[Any, list[str]]] = {
    "get": (_get, ["job_id (project=? AND id=?)"]),
    "due": (lambda c: job_read.due(c, 1), ["COVERING INDEX job_due (due_at<?)"]),
    "get_many": (lambda c: job_read.get_many(c, [UID, UID]), ["(uid=?)"]),
    "count_queued": (lambda c: job_read.count_queued(c, "a"), ["job_waiting (lane>? AND lane<?)"]),
    "placed": (job_read.placed, ["job_phase (phase=?)"]),
    "events": (lambda c: job_read.events(c, UID, 0, 1), ["(uid=? AND seq>?)"]),
    "waiting": (lambda c: job_read.waiting(c, 5), ["job_waiting (lane=? AND turn<?)", "job_waiting (lane>?)"]),
    "prune": (lambda c: job_write.prune_jobs(c, 1, 1), ["job_finalised (finished_at<?)"]),
    "add": (lambda c: job_write.add_jobs(c, [NewJob.of(Addition(*new()))]), ["job_id (project=? AND id=?)"]),
}


@pytest.mark.parametrize("name", READS)
def test_each_query_has_its_index(engine: Engine, name: str) -> None:
    work, indexes = READS[name]
    steps = plans_of(engine, work)
    for index in indexes:
        assert any(index in step for step in steps), steps
    assert not [step for step in steps if re.match(r"SCAN (job|event|label)\b(?! USING (COVERING )?INDEX)", step)], (
        steps
    )
