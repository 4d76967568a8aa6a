"""Lists of jobs: a page at the cost of a page, whatever the history's size and whichever filters are set.

A page comes from walks: an index is read newest first from the cursor on, and the filters that it does not cover are
checked row by row until the page is full. What matters is which index is walked. Databases guess badly (SQLite keeps no
statistics, so it is told by INDEXED BY), so it is chosen here by what the filters mean; the first of these that is set:

  a rare name           all that have it, sorted: they are few
  a label               newest first in (label); but for live phases, (phase) holds 100,000 jobs at most
  an owner              newest first in (owner, phase), for each phase, merged
  projects              newest first in (project, phase), for each of both, merged
  nothing               newest first in (phase), for each phase, merged
"""

import base64
import binascii
import heapq
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.job import LIVE, Job, JobPhase
from raysvc.domain.query import JobQuery, Page
from raysvc.errors import Invalid
from raysvc.store.instant import micros
from raysvc.store.schema import job, label

Filter = sa.ColumnElement[bool]
Walk = sa.Select[Any]


class Key(NamedTuple):
    """Where a job stands among all. Pages go down this order; a cursor is the key of the last job shown."""

    created_at: int
    uid: str


# Up to this many jobs of a name are sorted (about 30 ms); of a more frequent one, a walk by time soon meets enough.
_RARE = 20_000
_CURSOR = re.compile(r"(-?[0-9]{1,18}) ([0-9a-z]{16})")
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def find(connection: Connection, query: JobQuery) -> Page[Job]:
    """Return a page, newest first. Raises Invalid for a cursor that is not ours."""
    after = None if query.cursor is None else _parse(query.cursor)
    wanted = query.limit + 1
    runs = [
        [Key(row.created_at, row.uid) for row in connection.execute(walk.limit(wanted))]
        for walk in _walks(connection, query, after)
    ]
    keys = list(islice(heapq.merge(*runs, reverse=True), wanted))
    page = keys[: query.limit]
    rows = connection.execute(sa.select(job.c.uid, job.c.body).where(job.c.uid.in_([key.uid for key in page])))
    bodies: dict[str, str] = {row.uid: row.body for row in rows}
    return Page[Job](
        # One that was pruned since its key was read is left out.
        items=tuple(Job.model_validate_json(bodies[key.uid]) for key in page if key.uid in bodies),
        next_cursor=_cursor(page[-1]) if len(keys) > len(page) else None,
    )


def _walks(connection: Connection, query: JobQuery, after: Key | None) -> Iterable[Walk]:
    """Return the queries whose merged rows are the page's keys."""
    checks = _checks(query)
    live_only = query.phases is not None and LIVE.issuperset(query.phases)
    if query.name_prefix and _rare(connection, query.name_prefix):
        return [_newest_first(job, query, after).where(_named(query.name_prefix), ~job.c.deleted, *checks.values())]
    if query.label is not None and not live_only:
        del checks["label"]
        labelled = _newest_first(label, query, after).join(job, job.c.uid == label.c.uid)
        labelled = labelled.where(*_has(query.label), ~job.c.deleted, *checks.values())
        return [labelled.with_hint(label, "INDEXED BY label_value", "sqlite")]
    heads: Sequence[Filter]
    if query.owner is not None:
        index, heads = "job_owner", [checks.pop("owner")]
    elif query.projects is not None:
        del checks["projects"]
        index, heads = "job_project", [job.c.project == name for name in dict.fromkeys(query.projects)]
    else:
        index, heads = "job_phase", [sa.true()]
    phases = tuple(JobPhase) if query.phases is None else dict.fromkeys(query.phases)
    checks.pop("phases", None)
    walk = _newest_first(job, query, after).where(~job.c.deleted, *checks.values())
    walk = walk.with_hint(job, f"INDEXED BY {index}", "sqlite")
    return (walk.where(head, job.c.phase == phase.value) for head in heads for phase in phases)


def _newest_first(table: sa.Table, query: JobQuery, after: Key | None) -> Walk:
    """Return the keys of a table with both of its columns, from the cursor on and within the range of time."""
    born = table.c.created_at
    walk = sa.select(born, table.c.uid).order_by(born.desc(), table.c.uid.desc())
    if query.created_after is not None:
        walk = walk.where(born >= micros(query.created_after))
    if query.created_before is not None:
        walk = walk.where(born < micros(query.created_before))
    if after is not None:
        walk = walk.where(sa.tuple_(born, table.c.uid) < sa.tuple_(after.created_at, after.uid))
    return walk


def _checks(query: JobQuery) -> dict[str, Filter]:
    checks: dict[str, Filter] = {}
    if query.projects is not None:
        checks["projects"] = job.c.project.in_(query.projects)
    if query.phases is not None:
        checks["phases"] = job.c.phase.in_([phase.value for phase in query.phases])
    if query.owner is not None:
        checks["owner"] = job.c.owner == query.owner
    if query.name_prefix:
        checks["name"] = sa.func.substr(job.c.name, 1, len(query.name_prefix)) == query.name_prefix
    if query.label is not None:
        checks["label"] = sa.exists().where(label.c.uid == job.c.uid, *_has(query.label))
    return checks


def _has(pair: tuple[str, str]) -> tuple[Filter, Filter]:
    return label.c.key == pair[0], label.c.value == pair[1]


def _named(prefix: str) -> Filter:
    named = job.alias("named")
    uids = sa.select(named.c.uid).where(*_begins(named.c.name, prefix), ~named.c.deleted)
    return job.c.uid.in_(uids.with_hint(named, "INDEXED BY job_name", "sqlite"))


def _rare(connection: Connection, prefix: str) -> bool:
    some = sa.select(sa.literal(1)).where(*_begins(job.c.name, prefix), ~job.c.deleted).limit(_RARE + 1).subquery()
    return (connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0) <= _RARE


def _begins(name: sa.ColumnElement[str], prefix: str) -> tuple[Filter, ...]:
    """Return what holds for names that begin so, as a range of an index: from the prefix to the next text after it."""
    for place in reversed(range(len(prefix))):
        if (code := ord(prefix[place]) + 1) <= _LAST_CHARACTER:
            code = _SURROGATES.stop if code in _SURROGATES else code
            return name >= prefix, name < prefix[:place] + chr(code)
    return (name >= prefix,)


def _cursor(key: Key) -> str:
    return base64.urlsafe_b64encode(f"{key.created_at} {key.uid}".encode()).decode().rstrip("=")


def _parse(cursor: str) -> Key:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise Invalid("The cursor is not one that this server gave. Start again without it.", field="cursor")
    return Key(int(match[1]), match[2])
