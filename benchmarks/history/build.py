"""Builds the store: millions of rows in the schema's form, by the driver alone, checked against the store's own code.

The life of one finished job of each kind goes through the domain and the store's row code; its row then serves as a
form in which what is particular is filled in. Each 50,000th is held against its own life: all but the hash is equal.
Jobs that live, and the oldest that have ended, go through the domain each. The file is kept outside of the checkout; it
is made anew when a table changes, and its indexes alone when those do.
"""

import hashlib
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from benchmarks.history.people import PROJECTS, Facts, Size, facts
from raysvc.control.decide import admit
from raysvc.control.token import hash_secret
from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import Job, JobPhase, JobSpec, submit
from raysvc.domain.model import make_uid
from raysvc.domain.project import Project, Role, Token
from raysvc.domain.reason import ReasonCode, reason
from raysvc.domain.resources import Resources
from raysvc.ports.store import Addition
from raysvc.store.engine import parse
from raysvc.store.instant import micros
from raysvc.store.job_row import NewJob, Row
from raysvc.store.migration import OURS, ready
from raysvc.store.schema import metadata

BORN = datetime(2026, 1, 1, tzinfo=UTC)
GAP = timedelta(seconds=5)
WAITED, RAN, ARCHIVED = timedelta(seconds=30), timedelta(seconds=600), timedelta(seconds=1)
ADMIN, MEMBER, VIEWER = "raysvc_bench_admin", "raysvc_bench_member", "raysvc_bench_viewer"
CLUSTER = "local"
# Events are read by uid alone and no list looks at them, so of the finished only the oldest have theirs: those that
# `prune` removes in the benchmark. With all events the file would be 25 GB.
WITH_EVENTS = 20_000
_CHECK_EACH = 50_000
_ROWS = 20_000
_ENDS = {
    JobPhase.SUCCEEDED: reason(ReasonCode.SUCCEEDED),
    JobPhase.FAILED: reason(ReasonCode.ENTRYPOINT_FAILED, "exit code 1"),
    JobPhase.CANCELLED: reason(ReasonCode.STOPPED),
}


def database(size: Size) -> Path:
    """Return the file that holds such a store; it is built where it is not there yet, at full size in some minutes.

    Cut off, it goes on from where it was.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raysvc-bench"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"scale-{_schema()}-{size.finished}-{size.live}-{size.placed}.db"
    began = time.perf_counter()
    if not file.exists():
        draft = file.with_suffix(".draft")
        _build_rows(draft, size)
        draft.rename(file)
    if _build_indexes(file):
        print(f"{file}: built in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return file


def born(number: int) -> datetime:
    """Return when a job was submitted."""
    return BORN + number * GAP


def uid(number: int) -> str:
    return make_uid(int(born(number).timestamp() * 1000), number)


def life(number: int, phase: JobPhase) -> tuple[Job, list[Event]]:
    """Return the job in that phase, with all that happened to it."""
    about, at = facts(number), born(number)
    labels = {"team": about.team, "run": about.run} if about.team else {}
    spec = JobSpec(
        entrypoint="python train.py --config configs/base.yaml --steps 20000 --out $RAYSVC_OUTPUT_DIR",
        name=about.name or None,
        queue=about.queue,
        resources=Resources(cpus=1),
        labels={**labels, **({"tier": about.tier} if about.tier else {})},
    )
    names = {"job_id": f"raysubmit_{number:016}", "uid": uid(number), "project": about.project, "owner": about.owner}
    job, event = submit(spec, **names, now=at)
    events = [event]

    def note(change: tuple[Job, Event]) -> Job:
        events.append(change[1])
        return change[0]

    if phase is JobPhase.QUEUED:
        return job, events
    starting, why, fields = admit(job, CLUSTER, at + WAITED)
    job = note(job.to(starting, why, at + WAITED, **fields))
    ran: dict[str, Any] = {"started_at": at + WAITED, "attempt_started_at": at + WAITED}
    job = note(job.to(JobPhase.RUNNING, reason(ReasonCode.RUNNING), at + WAITED, **ran))
    if phase is JobPhase.RUNNING:
        return job, events
    if phase is JobPhase.CANCELLED:
        job = note(job.to(JobPhase.STOPPING, reason(ReasonCode.STOP_REQUESTED), at + RAN))
    end = at + WAITED + RAN
    job = note(job.to(phase, _ENDS[phase], end, finished_at=end, due_at=end))
    done: dict[str, Any] = {"finalised": True, "due_at": None}
    return note(job.change(EventKind.FINALISED, end + ARCHIVED, actor="raysvc", **done)), events


def _schema() -> str:
    """Return a digest of the tables."""
    tables = [(table.name, [repr(column) for column in table.columns]) for table in metadata.sorted_tables]
    return hashlib.sha256(repr(tables).encode()).hexdigest()[:8]


def _build_rows(draft: Path, size: Size) -> None:
    if not draft.exists():
        ready(parse(f"sqlite:///{draft}"), BORN, OURS)
        with closing(_quickly(draft)) as connection:
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            for name in _indexes(connection):
                connection.execute(f"DROP INDEX {name}")
            _people(connection)
    with closing(_quickly(draft)) as connection:
        (done,) = connection.execute("SELECT coalesce(max(rowid), 0) FROM job").fetchone()
        for first in range(done, size.total, _ROWS):
            connection.execute("BEGIN")
            _fill(connection, size, range(first, min(first + _ROWS, size.total)))
            connection.execute("COMMIT")


def _build_indexes(file: Path) -> bool:
    """Make the indexes as the schema says, those that are not so yet; return whether there were any."""
    wanted = {
        str(index.name): str(sa.schema.CreateIndex(index).compile(dialect=sqlite.dialect()))
        for table in metadata.sorted_tables
        for index in table.indexes
    }
    with closing(_quickly(file)) as connection:
        there = _indexes(connection)
        for name in there.keys() - wanted.keys():
            connection.execute(f"DROP INDEX {name}")
        changed = {name: sql for name, sql in wanted.items() if there.get(name) != sql}
        for name, sql in changed.items():
            connection.execute(f"DROP INDEX IF EXISTS {name}")
            connection.execute(sql)
        connection.execute("PRAGMA journal_mode = WAL")
    return bool(changed)


def _indexes(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the statement of each index."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))


def _quickly(file: Path) -> sqlite3.Connection:
    """Return a connection that survives the end of its process, and not that of the machine."""
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in ("synchronous = OFF", "cache_size = -200000", "temp_store = MEMORY", "threads = 2"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _people(connection: sqlite3.Connection) -> None:
    for name in (*PROJECTS, "default"):
        project = Project(name=name, created_at=BORN)
        connection.execute("INSERT INTO project (name, body) VALUES (?, ?)", (name, project.model_dump_json()))
    for number, (secret, role, projects) in enumerate(
        ((ADMIN, Role.ADMIN, ()), (MEMBER, Role.MEMBER, PROJECTS[:1]), (VIEWER, Role.VIEWER, PROJECTS))
    ):
        token = Token(id=make_uid(1, number), role=role, projects=projects, owner="bench", created_at=BORN)
        row = (token.id, hash_secret(secret), micros(BORN), token.model_dump_json())
        connection.execute("INSERT INTO token (id, secret_hash, created_at, body) VALUES (?, ?, ?, ?)", row)


def _fill(connection: sqlite3.Connection, size: Size, numbers: Iterable[int]) -> None:
    jobs: list[Row] = []
    labels: list[Row] = []
    events: list[Row] = []
    for number in numbers:
        phase = size.phase(number)
        if number < WITH_EVENTS or number >= size.finished:
            new = NewJob.of(Addition(*life(number, phase)))
            row, tags = new.row, new.labels
            events += new.events
        else:
            row, tags = _filled(number, phase)
        jobs.append(row)
        labels += tags
    for table, rows in (("job", jobs), ("label", labels), ("event", events)):
        _insert(connection, table, rows)


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    if rows:
        names = ", ".join(rows[0])
        marks = ", ".join(f":{name}" for name in rows[0])
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608 names of ours


class _Form:
    """The row of one kind of finished job, with places where a job's own words go."""

    def __init__(self, number: int, phase: JobPhase) -> None:
        own = _words(number, facts(number))
        new = NewJob.of(Addition(*life(number, phase)))
        # The longest first: an id holds the number that a name ends with.
        body = new.row["body"].replace("%", "%%")
        for name in sorted(own, key=lambda name: -len(own[name])):
            body = body.replace(own[name], f"%({name})s") if own[name] else body
        self._body = body
        self._row = new.row

    def fill(self, number: int, about: Facts) -> tuple[Row, list[Row]]:
        own, at = _words(number, about), micros(born(number))
        shift = at - self._row["created_at"]
        row = self._row | {
            "uid": own["uid"],
            "project": about.project,
            "id": own["id"],
            "name": about.name or own["id"],
            "owner": about.owner,
            "queue": about.queue,
            "created_at": at,
            "turn": self._row["turn"] + shift,
            "finished_at": self._row["finished_at"] + shift,
            "body": self._body % own,
        }
        labels = (("team", about.team), ("run", about.run), ("tier", about.tier))
        return row, [{"uid": own["uid"], "key": k, "value": v, "created_at": at} for k, v in labels if v]


@cache
def _form(phase: JobPhase, *kind: bool) -> _Form:
    """Return the form of the finished jobs of that kind: whether they have a name, a team and a tier."""
    return _Form(next(n for n in count() if _kind(facts(n)) == kind), phase)


def _kind(about: Facts) -> tuple[bool, bool, bool]:
    return bool(about.name), bool(about.team), bool(about.tier)


def _words(number: int, about: Facts) -> dict[str, str]:
    """Return the texts of a finished job's record that no other of its kind has, by name, as JSON has them."""
    at = born(number)
    return {
        "uid": uid(number),
        "id": f"raysubmit_{number:016}",
        "born": _json(at),
        "began": _json(at + WAITED),
        "ended": _json(at + WAITED + RAN),
        "archived": _json(at + WAITED + RAN + ARCHIVED),
        "project": f'"project":"{about.project}"',
        "owner": f'"owner":"{about.owner}"',
        "name": f'"name":"{about.name}"' if about.name else "",
        "team": f'"team":"{about.team}"' if about.team else "",
        "run": f'"run":"{about.run}"' if about.team else "",
        "queue": f'"queue":"{about.queue}"',
    }


def _json(at: datetime) -> str:
    return f"{at.isoformat()[:19]}Z"


def _filled(number: int, phase: JobPhase) -> tuple[Row, list[Row]]:
    about = facts(number)
    row, labels = _form(phase, *_kind(about)).fill(number, about)
    if number % _CHECK_EACH == 0:
        told = NewJob.of(Addition(*life(number, phase)))
        assert labels == told.labels
        assert {**row, "body": ""} == {**told.row, "body": ""}
        ours, theirs = (Job.model_validate_json(body) for body in (row["body"], told.row["body"]))
        assert ours.model_copy(update={"head": ""}) == theirs.model_copy(update={"head": ""})
    return row, labels
