"""Lists of jobs: a page at the cost of a page, whatever the history's size and whichever filters are set.

What matters is which index is used, and that is chosen here: a database guesses, and SQLite without any statistics, so
it is told (INDEXED BY). First each filter is asked whether few jobs pass it, which costs a glance at its index. Then

  few pass one of them   those few are read, the other filters checked, and the rest sorted
  many pass each         an index is walked newest first from the cursor on, and the other filters are checked row by
                         row until the page is full, which is soon: (label), (owner, phase), (project, phase) or
                         (phase). Of several owners' phases, or projects, the walks are merged.
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


# Up to so many jobs are few: to read and sort them takes about 30 ms.
_FEW = 10_000
# Above so many projects, it is cheaper to walk all projects and to skip the others' jobs.
_PROJECTS = 10
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
    bodies = _bodies(connection, [key.uid for key in page])
    return Page[Job](
        # One that was pruned since its key was read is left out.
        items=tuple(Job.model_validate_json(bodies[key.uid]) for key in page if key.uid in bodies),
        next_cursor=_cursor(page[-1]) if len(keys) > len(page) else None,
    )


def _bodies(connection: Connection, uids: Sequence[str]) -> dict[str, str]:
    if not uids:
        return {}
    rows = connection.execute(sa.select(job.c.uid, job.c.body).where(job.c.uid.in_(uids)))
    return {row.uid: row.body for row in rows}


def _walks(connection: Connection, query: JobQuery, after: Key | None) -> Iterable[Walk]:
    """Return the queries whose merged rows are the page's keys."""
    checks = _checks(query)
    few = _fewest(connection, query, checks)
    if few is not None:
        return [_walk(query, after, few, checks)]
    live_only = query.phases is not None and LIVE.issuperset(query.phases)
    if query.label is not None and not live_only:
        return [_walk(query, after, "label_value", checks)]
    index = "job_phase"
    heads: Sequence[Filter] = [sa.true()]
    if query.owner is not None:
        index, heads = "job_owner", [checks.pop("owner")]
    elif query.projects is not None and len(query.projects) <= _PROJECTS:
        del checks["projects"]
        index, heads = "job_project", [job.c.project == name for name in dict.fromkeys(query.projects)]
    checks.pop("phases", None)
    walk = _walk(query, after, index, checks)
    phases = tuple(JobPhase) if query.phases is None else dict.fromkeys(query.phases)
    return (walk.where(head, job.c.phase == phase.value) for head in heads for phase in phases)


def _checks(query: JobQuery) -> dict[str, Filter]:
    """Return what a job must pass."""
    checks: dict[str, Filter] = {}
    if query.projects is not None:
        checks["projects"] = job.c.project.in_(query.projects)
    if query.phases is not None:
        checks["phases"] = job.c.phase.in_([phase.value for phase in query.phases])
    if query.owner is not None:
        checks["owner"] = job.c.owner == query.owner
    if query.name_prefix:
        checks["name"] = _begins(job.c.name, query.name_prefix)
    if query.label is not None:
        checks["label"] = sa.exists().where(label.c.uid == job.c.uid, _has(query.label))
    return checks


def _fewest(connection: Connection, query: JobQuery, checks: dict[str, Filter]) -> str | None:
    """Return the index in which the fewest jobs pass what it is on, None where that is more than a few."""
    phases = [checks["phases"]] if "phases" in checks else []
    options: dict[str, list[Filter]] = {}
    if "name" in checks:
        options["job_name"] = [checks["name"]]
    if query.label is not None:
        options["label_value"] = [_has(query.label)]
    if "owner" in checks:
        options["job_owner"] = [checks["owner"], *phases]
    if "projects" in checks:
        options["job_project"] = [checks["projects"], *phases]
    if phases and not options.keys() & {"job_owner", "job_project"}:
        options["job_phase"] = phases
    many_projects = query.projects is not None and len(query.projects) > _PROJECTS
    if len(options) < 2 and "job_name" not in options and not many_projects:  # noqa: PLR2004 filters
        return None  # nothing to choose from, and its walks are in order
    fewest, chosen = _FEW + 1, None
    for index, conditions in options.items():
        some = _using(index, sa.select(sa.literal(1)).where(*conditions)).limit(fewest).subquery()
        count = connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0
        if count < fewest:
            fewest, chosen = count, index
    return chosen


def _walk(query: JobQuery, after: Key | None, index: str, checks: dict[str, Filter]) -> Walk:
    """Return the keys of the jobs that pass, newest first, from the cursor on, and within the range of time."""
    table = job
    if index == "label_value" and query.label is not None:
        # Along the labels, whose rows are in the order of their jobs' birth, to the jobs.
        table = label
        checks = {**checks, "label": _has(query.label)}
    born = table.c.created_at
    walk = _using(index, sa.select(born, table.c.uid)).where(*checks.values())
    if table is label:
        walk = walk.join(job, job.c.uid == label.c.uid).where(~job.c.deleted)
    if query.created_after is not None:
        walk = walk.where(born >= micros(query.created_after))
    if query.created_before is not None:
        walk = walk.where(born < micros(query.created_before))
    if after is not None:
        walk = walk.where(sa.tuple_(born, table.c.uid) < sa.tuple_(after.created_at, after.uid))
    return walk.order_by(born.desc(), table.c.uid.desc())


def _using(index: str, query: Walk) -> Walk:
    """Return the query on the table of the index, and through it."""
    if index == "label_value":
        return query.select_from(label).with_hint(label, f"INDEXED BY {index}", "sqlite")
    return query.select_from(job).where(~job.c.deleted).with_hint(job, f"INDEXED BY {index}", "sqlite")


def _has(pair: tuple[str, str]) -> Filter:
    return sa.and_(label.c.key == pair[0], label.c.value == pair[1])


def _begins(name: sa.ColumnElement[str], prefix: str) -> Filter:
    """Return what holds for names that begin so, as a range of an index: from the prefix to the next text after it."""
    for place in reversed(range(len(prefix))):
        if (code := ord(prefix[place]) + 1) <= _LAST_CHARACTER:
            code = _SURROGATES.stop if code in _SURROGATES else code
            return sa.and_(name >= prefix, name < prefix[:place] + chr(code))
    return name >= prefix


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
