"""Lists of jobs: a page at the cost of a page, whatever the history's size and whichever filters are set.

What matters is which index is used, and that is chosen here: a database guesses, and SQLite without any statistics, so
it is told (INDEXED BY). First each filter is asked whether few jobs pass it, which costs a glance at its index. Then

  few pass one of them   those few are read, the other filters checked, and the rest sorted
  many pass each         an index is walked newest first from the cursor on, and the other filters are checked row by
                         row until the page is full: (label), (owner, phase), (project, phase) or (phase), whichever
                         comes the furthest at the same cost. Of several phases, or projects, the walks are merged.

Filters that never meet would make such a walk as long as the history. So it ends after _MOST rows with a page that is
short, or empty, and whose cursor goes on from there.
"""

import base64
import binascii
import heapq
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import PAGE_BYTES, JobQuery, Page
from raysvc.errors import Invalid
from raysvc.store.instant import micros
from raysvc.store.schema import job, label

Filter = sa.ColumnElement[bool]
Walk = sa.Select[Any]


class Key(NamedTuple):
    """Where a job stands among all. Pages go down this order; a cursor is the key of the last job shown."""

    created_at: int
    uid: str


# Up to so many jobs are few: to read and sort them takes about 30 ms. Those of a label are far apart in the table, and
# each is a page of its own to read, perhaps from the disk: of them, a thousand.
_FEW = 10_000
_FEW_APART = 1_000
# Above so many projects, it is cheaper to walk all projects and to skip the others' jobs.
_PROJECTS = 10
# A page looks at no more rows than this: at 0.4 µs each in an index, at 1.5 µs where each is sought among the labels
# too, and at 5 µs, or the time of a disk, where each is looked up in the table.
_MOST = 120_000
_MOST_SOUGHT = 20_000
_MOST_APART = 1_500
# Bodies read at once: of the first, whose size nobody knows (1.5 MB each at most), and of the others.
_FIRST = 16
_CHUNK = 256
_CURSOR = re.compile(r"(-?[0-9]{1,18}) ([0-9a-z]{16})")
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_OLDEST = Key(-(1 << 62), "")


@dataclass(frozen=True)
class Way:
    """An index to walk along: once for each of `heads`, which its first columns answer; `checks` are what is left."""

    index: str
    heads: tuple[Filter, ...]
    checks: dict[str, Filter]

    @property
    def most(self) -> int:
        """Return how many rows each of its walks may look at."""
        most = _MOST_APART if self.index == "label_value" else _MOST_SOUGHT if "label" in self.checks else _MOST
        return max(1, most // len(self.heads))


def find(connection: Connection, query: JobQuery) -> Page[Job]:
    """Return a page, newest first. Raises Invalid for a cursor that is not ours."""
    after = None if query.cursor is None else _parse(query.cursor)
    keys, end = _keys(connection, query, after)
    asked = keys[: query.limit]
    page, bodies = _fitting(connection, asked)
    last = page[-1] if len(keys) > len(page) else end
    return Page[Job](
        # One that was pruned since its key was read is left out.
        items=tuple(Job.model_validate_json(bodies[key.uid]) for key in page if key.uid in bodies),
        next_cursor=None if last is None else _cursor(last),
    )


def _keys(connection: Connection, query: JobQuery, after: Key | None) -> tuple[list[Key], Key | None]:
    """Return the keys of the page and one more, if there is one, and the last key that was looked at, None: all."""
    wanted = query.limit + 1
    checks = _checks(query)
    few = _fewest(connection, query, checks)
    if few is not None:
        own = {"label": _has(query.label)} if few == "label_value" and query.label is not None else {}
        return _run(connection, _walk(query, after, few, tuple({**checks, **own}.values())).limit(wanted)), None
    ways = list(_ways(query, checks))
    way, end = ways[0], None
    if len(ways) > 1 or way.checks:
        ends = [_furthest(connection, query, after, way) for way in ways]
        end, way = min(zip(ends, ways, strict=True), key=lambda each: each[0] or _OLDEST)
    walks = (_walk(query, after, way.index, (head, *way.checks.values()), end=end) for head in way.heads)
    runs = [_run(connection, walk.limit(wanted)) for walk in walks]
    merged = islice(heapq.merge(*runs, reverse=True), wanted)
    return [key for key in merged if end is None or key >= end], end


def _run(connection: Connection, walk: Walk) -> list[Key]:
    return [Key(row.created_at, row.uid) for row in connection.execute(walk)]


def _furthest(connection: Connection, query: JobQuery, after: Key | None, way: Way) -> Key | None:
    """Return the key down to which each walk of the way gets with its rows; None where each gets to its end."""
    walks = (_walk(query, after, way.index, (head,), join=False).limit(1).offset(way.most) for head in way.heads)
    return max((key for walk in walks for key in _run(connection, walk)), default=None)


def _fitting(connection: Connection, keys: Sequence[Key]) -> tuple[Sequence[Key], dict[str, str]]:
    """Return the first of the keys whose jobs have PAGE_BYTES together, or the first alone, and their bodies by uid."""
    bodies: dict[str, str] = {}
    read, size = 0, 0
    while read < len(keys):
        # As many more as should fit, going by those so far: no more than a page is ever in memory, or little more.
        fit = (PAGE_BYTES - size) * read // size if size else _FIRST
        some = keys[read : read + max(1, min(fit, _CHUNK))]
        bodies |= _bodies(connection, [key.uid for key in some])
        for key in some:
            size += len(bodies.get(key.uid, "").encode())
            if size > PAGE_BYTES and read:
                return keys[:read], bodies
            read += 1
    return keys, bodies


def _bodies(connection: Connection, uids: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(sa.select(job.c.uid, job.c.body).where(job.c.uid.in_(uids)))
    return {row.uid: row.body for row in rows}


def _ways(query: JobQuery, checks: dict[str, Filter]) -> Iterable[Way]:
    """Return the indexes along which the page may be found."""
    phases = [
        job.c.phase == phase.value for phase in (JobPhase if query.phases is None else dict.fromkeys(query.phases))
    ]
    rest = {name: check for name, check in checks.items() if name != "phases"}
    if query.label is not None:
        others = {name: check for name, check in checks.items() if name != "label"}
        yield Way("label_value", (_has(query.label),), others)
    if "owner" in rest:
        heads = tuple(sa.and_(rest["owner"], phase) for phase in phases)
        yield Way("job_owner", heads, {name: check for name, check in rest.items() if name != "owner"})
    if query.projects is not None and len(query.projects) <= _PROJECTS:
        projects = [job.c.project == name for name in dict.fromkeys(query.projects)]
        heads = tuple(sa.and_(project, phase) for project in projects for phase in phases)
        yield Way("job_project", heads, {name: check for name, check in rest.items() if name != "projects"})
    if "owner" not in rest and (query.projects is None or len(query.projects) > _PROJECTS):
        yield Way("job_phase", tuple(phases), rest)


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
        # By all columns of label_value, which are in the order in which jobs are walked: one look at a page at hand.
        told = _using("label_value", sa.select(sa.literal(1))).where(
            _has(query.label), label.c.created_at == job.c.created_at, label.c.uid == job.c.uid
        )
        checks["label"] = told.correlate(job).exists()
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
        most = min(fewest, _FEW_APART + 1) if index == "label_value" else fewest
        some = _using(index, sa.select(sa.literal(1)).where(*conditions)).limit(most).subquery()
        count = connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0
        if count < most:
            fewest, chosen = count, index
    return chosen


def _walk(
    query: JobQuery,
    after: Key | None,
    index: str,
    conditions: Sequence[Filter],
    *,
    join: bool = True,
    end: Key | None = None,
) -> Walk:
    """Return the keys of the jobs that pass, newest first, from the cursor on, and within the range of time.

    With `end`, which is within them, none that is born before it.
    """
    table = label if index == "label_value" else job
    born = table.c.created_at
    walk = _using(index, sa.select(born, table.c.uid)).where(*conditions)
    if table is label and join:
        walk = walk.join(job, job.c.uid == label.c.uid).where(~job.c.deleted)
    # One bound on each side, the narrower one: of two, SQLite may walk from the other.
    first, below = micros(query.created_after), micros(query.created_before)
    if end is not None:
        walk = walk.where(born >= end.created_at)
    elif first is not None:
        walk = walk.where(born >= first)
    if after is not None and (below is None or after.created_at < below):
        walk = walk.where(sa.tuple_(born, table.c.uid) < sa.tuple_(after.created_at, after.uid))
    elif below is not None:
        walk = walk.where(born < below)
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
