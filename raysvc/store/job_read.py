"""Reading jobs: one by its names, and the sets that the reconciler and the scheduler live on. `job_find` has lists."""

from collections.abc import Sequence
from itertools import chain, groupby, islice
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.event import Event
from raysvc.domain.job import PLACED, Job, JobPhase
from raysvc.domain.query import DueRow, PlacedRow, SharingRow, WaitingRow
from raysvc.errors import NotFound
from raysvc.store.instant import instant
from raysvc.store.job_row import lanes_of, placed_rows, waiting_rows
from raysvc.store.schema import event, idempotency, job
from raysvc.store.schema import sharing as shares

_CHUNK = 1000  # values in one IN (…): SQLite takes 32,766 parameters a statement
# The first K of every lane, without reading the rest: a queue may hold 100,000 jobs, a tick looks at a few.
# `lanes` skips from each lane to the next in job_waiting; the K-th turn of a lane then bounds what is read of it.
# (LATERAL … LIMIT would say it more plainly, but SQLite has none.)
_WAITING = sa.text("""
WITH RECURSIVE lanes(lane) AS (
    SELECT min(lane) FROM job WHERE lane IS NOT NULL
    UNION ALL
    SELECT (SELECT min(job.lane) FROM job WHERE job.lane > lanes.lane) FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT job.uid, job.project, job.queue, job.priority, job.created_at, job.not_before, job.demand, job.lane
FROM lanes JOIN job ON job.lane = lanes.lane AND job.turn <= coalesce(
    (SELECT nth.turn FROM job AS nth WHERE nth.lane = lanes.lane ORDER BY nth.turn, nth.uid LIMIT 1 OFFSET :last),
    9223372036854775807)
ORDER BY job.lane, job.turn, job.uid
""")

_GET = sa.select(job.c.body).where(
    job.c.project == sa.bindparam("project"), job.c.id == sa.bindparam("id"), ~job.c.deleted
)
_BY_KEY = (
    sa.select(job.c.body, idempotency.c.body_digest)
    .join(job, job.c.uid == idempotency.c.uid)
    .where(idempotency.c.project == sa.bindparam("project"), idempotency.c.key == sa.bindparam("key"))
)
_BY_UID = sa.select(job.c.body).where(job.c.uid == sa.bindparam("uid"))
_MANY = sa.select(job.c.uid, job.c.body).where(job.c.uid.in_(sa.bindparam("uids", expanding=True)))
# From the index alone: it holds all of the row.
_DUE = (
    sa.select(job.c.uid, job.c.due_at, job.c.version, job.c.phase)
    .where(job.c.due_at <= sa.bindparam("now"))
    .order_by(job.c.due_at, job.c.uid)
)
_COUNT_QUEUED = sa.select(sa.func.count()).select_from(
    sa.select(sa.literal(1))
    .select_from(job)
    .where(job.c.lane >= sa.bindparam("first"), job.c.lane < sa.bindparam("below"))
    .limit(sa.bindparam("most"))
    .subquery()
)
_ALL = (1 << 63) - 1
_PLACED = (
    sa.select(job.c.uid, job.c.project, job.c.phase, job.c.demand, job.c.version)
    .where(job.c.phase.in_(sorted(PLACED)), ~job.c.deleted)
    .order_by(job.c.uid)
)
_SHARING = sa.select(shares.c.uid, shares.c.project, shares.c.cluster).order_by(shares.c.uid)
_EVENTS = (
    sa.select(event.c.body)
    .where(event.c.uid == sa.bindparam("uid"), event.c.seq > sa.bindparam("after"))
    .order_by(event.c.seq)
    .limit(sa.bindparam("limit"))
)


def get(connection: Connection, project: str, job_id: str) -> Job:
    body = connection.scalar(_GET, {"project": project, "id": job_id})
    if body is None:
        raise NotFound(f"There is no job {job_id!r} in project {project!r}.")
    return Job.model_validate_json(body)


def by_key(connection: Connection, project: str, key: str) -> tuple[Job, str] | None:
    row = connection.execute(_BY_KEY, {"project": project, "key": key}).first()
    return None if row is None else (Job.model_validate_json(row.body), row.body_digest)


def get_by_uid(connection: Connection, uid: str) -> Job:
    body = connection.scalar(_BY_UID, {"uid": uid})
    if body is None:
        raise NotFound(f"There is no job with uid {uid!r}.")
    return Job.model_validate_json(body)


def get_many(connection: Connection, uids: Sequence[str]) -> Sequence[Job]:
    bodies: dict[str, str] = {}
    for start in range(0, len(uids), _CHUNK):
        rows = connection.execute(_MANY, {"uids": uids[start : start + _CHUNK]})
        bodies |= {row.uid: row.body for row in rows}
    return [Job.model_validate_json(bodies[uid]) for uid in uids if uid in bodies]


def due(connection: Connection, now: int) -> Sequence[DueRow]:
    rows = connection.execute(_DUE, {"now": now})
    return [DueRow(uid, instant(at), version, JobPhase(phase)) for uid, at, version, phase in rows]


def count_queued(connection: Connection, project: str, most: int | None = None) -> int:
    first, below = lanes_of(project)
    bounds = {"first": first, "below": below, "most": _ALL if most is None else most}
    return connection.scalar(_COUNT_QUEUED, bounds) or 0


def waiting(connection: Connection, per_queue: int) -> Sequence[WaitingRow]:
    if per_queue < 1:
        return []
    rows = connection.execute(_WAITING, {"last": per_queue - 1})
    # Jobs of one priority and microsecond share a turn, so that a lane may yield a few more than asked for.
    lanes = (islice(lane, per_queue) for _, lane in groupby(rows, key=attrgetter("lane")))
    return waiting_rows(chain.from_iterable(lanes))


def placed(connection: Connection) -> Sequence[PlacedRow]:
    return placed_rows(connection.execute(_PLACED))


def sharing(connection: Connection) -> Sequence[SharingRow]:
    return [SharingRow(*row) for row in connection.execute(_SHARING)]


def events(connection: Connection, uid: str, after: int, limit: int) -> Sequence[Event]:
    bodies = connection.scalars(_EVENTS, {"uid": uid, "after": after, "limit": limit})
    return [Event.model_validate_json(body) for body in bodies]
