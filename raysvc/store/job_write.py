"""Writing jobs, many at a time: each function here is one kind of `writer.Work`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.job import Job
from raysvc.domain.project import queue_full
from raysvc.errors import AlreadyExists, KeyReused, NotFound, RaysvcError, StaleVersion
from raysvc.store.bulk import Bulk
from raysvc.store.job_read import count_queued
from raysvc.store.job_row import NewJob, SavedJob
from raysvc.store.schema import FINALISED, event, idempotency, job, label, lease, package, package_ref, sharing
from raysvc.store.schema import project as projects

Pair = tuple[str, str]

_JOBS = Bulk(sa.insert(job))
_EVENTS = Bulk(sa.insert(event))
_LABELS = Bulk(sa.insert(label))
_KEYS = Bulk(sa.insert(idempotency))
_REFS = Bulk(sa.insert(package_ref))
_SHARING = Bulk(sa.insert(sharing))
_MOVED = Bulk(sa.update(job).where(job.c.uid == sa.bindparam("b_uid")))
_RESPECIFIED = Bulk(sa.update(job).where(job.c.uid == sa.bindparam("b_uid")))
_CHUNK = 1000  # values in one IN (…): SQLite takes 32,766 parameters a statement


def add_jobs(connection: Connection, asks: Sequence[NewJob]) -> list[tuple[Job, bool] | RaysvcError]:
    """Keep new jobs: for each (the job, whether it is new), AlreadyExists, KeyReused, NotFound or OverLimit.

    In rounds: of those that want the same id or the same key, the first is tried and the rest see how it went.
    """
    outcomes: dict[int, tuple[Job, bool] | RaysvcError] = {}
    queued = _queued(connection, asks)
    left = list(range(len(asks)))
    while left:
        round_ = _Round(connection, [asks[i] for i in left], queued)
        later = []
        for i in left:
            outcome = round_.decide(asks[i])
            if outcome is None:
                later.append(i)
            else:
                outcomes[i] = outcome
        round_.insert()
        left = later
    return [outcomes[i] for i in range(len(asks))]


class _Round:
    """Adds of which no two want the same id or key. Looks first, then writes: a refusal costs the others nothing.

    `queued`: how many are QUEUED in each project that has a limit, with those that are accepted here.
    """

    def __init__(self, connection: Connection, asks: Sequence[NewJob], queued: dict[str, int]) -> None:
        self._connection = connection
        self._queued = queued
        self._accepted: list[NewJob] = []
        self._claimed: set[tuple[str, str, str]] = set()
        self._taken = _taken(connection, [(a.job.project, a.job.id) for a in asks])
        self._kept = _kept(connection, [(a.job.project, a.key) for a in asks if a.key is not None])
        self._there = _there(connection, {(a.job.project, name) for a in asks for name in a.packages})

    def decide(self, ask: NewJob) -> tuple[Job, bool] | RaysvcError | None:
        """Return what becomes of it; None: another of this round decides that, ask again in the next."""
        project, id_ = ask.job.project, ask.job.id
        if ask.key is not None and (kept := self._kept.get((project, ask.key))):
            return _replay(ask, *kept)
        claims = {("id", project, id_), ("key", project, ask.key)} if ask.key is not None else {("id", project, id_)}
        if not self._claimed.isdisjoint(claims):
            return None
        if (project, id_) in self._taken:
            return AlreadyExists(f"Job {id_!r} already exists in project {project!r}. Choose another id.", field="id")
        if gone := [name for name in sorted(ask.packages) if (project, name) not in self._there]:
            return NotFound(f"Project {project!r} has no package {gone[0]!r}. Upload it again.", field="packages")
        if ask.most_queued is not None and self._queued[project] >= ask.most_queued:
            return queue_full(project, ask.most_queued)
        if project in self._queued:
            self._queued[project] += 1
        self._claimed |= claims
        self._accepted.append(ask)
        return ask.job, True

    def insert(self) -> None:
        connection, accepted = self._connection, self._accepted
        _JOBS.write(connection, (a.row for a in accepted))
        _EVENTS.write(connection, (row for a in accepted for row in a.events))
        _LABELS.write(connection, (row for a in accepted for row in a.labels))
        _KEYS.write(connection, (a.key_row for a in accepted if a.key is not None))
        _REFS.write(
            connection,
            ({"project": a.job.project, "name": name, "uid": a.job.uid} for a in accepted for name in a.packages),
        )
        _SHARING.write(connection, (a.sharing_row for a in accepted if a.job.spec.cluster is not None))


def save_jobs(connection: Connection, asks: Sequence[SavedJob]) -> list[RaysvcError | None]:
    """Compare-and-set: for each None, StaleVersion or NotFound. In rounds, so that each updates a job at most once."""
    outcomes: dict[int, RaysvcError | None] = _fenced_off(connection, asks)
    left = [i for i in range(len(asks)) if i not in outcomes]
    while left:
        versions = _locked_versions(connection, {asks[i].uid for i in left})
        accepted: dict[str, SavedJob] = {}
        later = []
        for i in left:
            ask = asks[i]
            version = versions.get(ask.uid)
            if ask.uid in accepted:
                later.append(i)
            elif version is None:
                outcomes[i] = NotFound(f"There is no job with uid {ask.uid}; it was pruned.")
            elif version != ask.expected:
                outcomes[i] = StaleVersion(f"Job {ask.uid} is at version {version}, not {ask.expected}; read it again.")
            else:
                outcomes[i] = None
                accepted[ask.uid] = ask
        _update(connection, accepted.values())
        left = later
    return [outcomes[i] for i in range(len(asks))]


def _fenced_off(connection: Connection, asks: Sequence[SavedJob]) -> dict[int, RaysvcError | None]:
    """Return what becomes of those whose sender has lost its lease, and keep others from taking one until COMMIT."""
    names = {ask.fence.name for ask in asks if ask.fence is not None}
    if not names:
        return {}
    query = sa.select(lease.c.name, lease.c.holder, lease.c.token).where(lease.c.name.in_(names)).with_for_update()
    held = {(row.name, row.holder, row.token) for row in connection.execute(query)}
    return {
        i: StaleVersion(f"The lease {ask.fence.name!r} was taken by another; its holder goes on.")
        for i, ask in enumerate(asks)
        if ask.fence is not None and (ask.fence.name, ask.fence.holder, ask.fence.token) not in held
    }


def _locked_versions(connection: Connection, uids: Collection[str]) -> dict[str, int]:
    """Return the version of each job that is there, and keep other processes from changing it until COMMIT.

    SQLite needs no lock of a row, its transaction holds the only one. In the order of uids, so that two processes
    never wait for each other.
    """
    query = sa.select(job.c.uid, job.c.version).where(job.c.uid.in_(uids)).order_by(job.c.uid).with_for_update()
    return {row.uid: row.version for row in connection.execute(query)}


def _update(connection: Connection, asks: Collection[SavedJob]) -> None:
    respecified = [ask for ask in asks if ask.labels is not None]
    _MOVED.write(connection, (ask.row for ask in asks if ask.labels is None))
    _RESPECIFIED.write(connection, (ask.row for ask in respecified))
    if respecified:
        connection.execute(sa.delete(label).where(label.c.uid.in_([ask.uid for ask in respecified])))
        _LABELS.write(connection, (row for ask in respecified for row in ask.labels or ()))
    _EVENTS.write(connection, (row for ask in asks for row in ask.events))
    if over := [ask.uid for ask in asks if not ask.live]:
        connection.execute(sa.delete(package_ref).where(package_ref.c.uid.in_(over)))
        connection.execute(sa.delete(sharing).where(sharing.c.uid.in_(over)))


def prune_jobs(connection: Connection, finished_before: int, limit: int) -> list[Job]:
    """Remove finalised jobs that ended before then, oldest end first; all that hangs on them goes by cascade."""
    rows = connection.execute(
        sa.select(job.c.uid, job.c.body)
        .where(FINALISED, job.c.finished_at < finished_before)
        .order_by(job.c.finished_at, job.c.uid)
        .limit(limit)
        .with_for_update()
    ).all()
    for chunk in _chunks([row.uid for row in rows]):
        connection.execute(sa.delete(job).where(job.c.uid.in_(chunk)))
    return [Job.model_validate_json(row.body) for row in rows]


def _kept(connection: Connection, keys: Sequence[Pair]) -> dict[Pair, tuple[str, str]]:
    """Return for each idempotency key that came before: the digest of its request, and its job's body."""
    kept: dict[Pair, tuple[str, str]] = {}
    for project, names in _by_project(keys).items():
        rows = connection.execute(
            sa.select(idempotency.c.key, idempotency.c.body_digest, job.c.body)
            .join(job, job.c.uid == idempotency.c.uid)
            .where(idempotency.c.project == project, idempotency.c.key.in_(names))
        )
        kept |= {(project, row.key): (row.body_digest, row.body) for row in rows}
    return kept


def _replay(ask: NewJob, body_digest: str, body: str) -> tuple[Job, bool] | RaysvcError:
    if body_digest != ask.body_digest:
        return KeyReused(
            f"Idempotency key {ask.key!r} came before with another request. Use a new key for a new request."
        )
    return Job.model_validate_json(body), False


def _queued(connection: Connection, asks: Iterable[NewJob]) -> dict[str, int]:
    """Return for each project with a limit how many are QUEUED, and keep other processes from adding until COMMIT."""
    most: dict[str, int] = {}
    for ask in asks:
        if ask.most_queued is not None:
            most[ask.job.project] = max(ask.most_queued, most.get(ask.job.project, 0))
    if most:
        query = sa.select(projects.c.name).where(projects.c.name.in_(most)).order_by(projects.c.name).with_for_update()
        connection.execute(query)
    return {name: count_queued(connection, name, limit) for name, limit in most.items()}


def _taken(connection: Connection, ids: Iterable[Pair]) -> set[Pair]:
    """Return those (project, id) that a job which is not deleted has."""
    found = set()
    # By project, since SQLite finds no index for (a, b) IN (…).
    for project, names in _by_project(ids).items():
        query = sa.select(job.c.id).where(job.c.project == project, job.c.id.in_(names), ~job.c.deleted)
        found |= {(project, id_) for id_ in connection.scalars(query)}
    return found


def _there(connection: Connection, packages: Iterable[Pair]) -> set[Pair]:
    """Return those packages that are there, and keep other processes from removing them until COMMIT."""
    found = set()
    for project, names in _by_project(packages).items():
        query = sa.select(package.c.name).where(package.c.project == project, package.c.name.in_(names))
        found |= {(project, name) for name in connection.scalars(query.with_for_update(read=True))}
    return found


def _by_project(pairs: Iterable[Pair]) -> dict[str, list[str]]:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for project, name in pairs:
        names[project].append(name)
    return names


def _chunks(uids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (uids[start : start + _CHUNK] for start in range(0, len(uids), _CHUNK))
