"""Jobs in memory: the half of `MemoryStore` that has rules of its own."""

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate

from raysvc.domain.event import Event
from raysvc.domain.job import PLACED, Job, JobPhase
from raysvc.domain.project import Package, queue_full
from raysvc.domain.query import PAGE_BYTES, DueRow, JobQuery, Page, PlacedRow, SharingRow, WaitingRow
from raysvc.errors import AlreadyExists, Invalid, KeyReused, NotFound, StaleVersion, Unavailable
from raysvc.ports import Addition, Lease

Name = tuple[str, str]  # of a project, and in it

_CURSOR = re.compile(r"(\S+)~([0-9a-z]{16})")


class Gate:
    """Open or closed, for all parts of a store."""

    def __init__(self) -> None:
        self.open = False

    def check(self) -> None:
        if not self.open:
            raise Unavailable("The store is closed: the server is starting or stopping. Try again in a moment.")


class MemoryJobs:
    """The Jobs port. Nothing here awaits, so each call is one step that no other task can see half of.

    `witness` is told of each change: the job before it, None for a new one, and after it.
    """

    def __init__(self, gate: Gate, packages: dict[Name, Package], leases: Mapping[str, Lease]) -> None:
        self.witness: Callable[[Job | None, Job], None] | None = None
        self._gate = gate
        self._packages = packages
        self._leases = leases
        self._jobs: dict[str, Job] = {}
        self._events: dict[str, list[Event]] = {}
        self._uids: dict[Name, str] = {}
        self._keys: dict[Name, tuple[str, str]] = {}
        self._refs: dict[str, frozenset[Name]] = {}
        # What the reconciler and the scheduler ask for at each tick, kept small beside a long history.
        self._due: dict[str, Job] = {}
        self._queued: dict[str, Job] = {}
        self._placed: dict[str, Job] = {}
        self._sharing: dict[str, Job] = {}

    async def add(self, job: Job, events: Sequence[Event], *, packages: Sequence[str] = ()) -> Job:
        self._gate.check()
        return self._add(Addition(job, events, packages))[0]

    async def add_once(
        self, job: Job, events: Sequence[Event], *, key: str, body_digest: str, packages: Sequence[str] = ()
    ) -> tuple[Job, bool]:
        self._gate.check()
        return self._add(Addition(job, events, packages, key, body_digest))

    async def add_each(self, additions: Sequence[Addition]) -> Sequence[tuple[Job, bool] | Exception]:
        self._gate.check()
        return [self._outcome(addition) for addition in additions]

    def _outcome(self, new: Addition) -> tuple[Job, bool] | Exception:
        try:
            return self._add(new)
        except Exception as error:  # noqa: BLE001 whatever it is, it is the outcome
            return error

    def _add(self, new: Addition) -> tuple[Job, bool]:
        job = new.job
        kept = self._keys.get((job.project, new.key)) if new.key is not None else None
        if kept is not None:
            if kept[0] != new.body_digest:
                raise KeyReused(
                    f"Idempotency key {new.key!r} came before with another request. Use a new key for a new request."
                )
            return self._jobs[kept[1]], False
        name = (job.project, job.id)
        if name in self._uids or job.uid in self._jobs:
            raise AlreadyExists(
                f"Job {job.id!r} already exists in project {job.project!r}. Choose another id.", field="id"
            )
        named = frozenset((job.project, package) for package in new.packages)
        if gone := sorted(named - self._packages.keys()):
            raise NotFound(f"Project {job.project!r} has no package {gone[0][1]!r}. Upload it again.", field="packages")
        if new.most_queued is not None and self._count_queued(job.project) >= new.most_queued:
            raise queue_full(job.project, new.most_queued)
        self._events[job.uid] = list(new.events)
        self._uids[name] = job.uid
        if named:
            self._refs[job.uid] = named
        if new.key is not None:
            self._keys[job.project, new.key] = (new.body_digest, job.uid)
        self._put(job)
        return job, True

    async def by_key(self, project: str, key: str) -> tuple[Job, str] | None:
        self._gate.check()
        kept = self._keys.get((project, key))
        return None if kept is None else (self._jobs[kept[1]], kept[0])

    async def get(self, project: str, job_id: str) -> Job:
        self._gate.check()
        uid = self._uids.get((project, job_id))
        if uid is None:
            raise NotFound(f"There is no job {job_id!r} in project {project!r}.")
        return self._jobs[uid]

    async def get_by_uid(self, uid: str) -> Job:
        self._gate.check()
        if uid not in self._jobs:
            raise NotFound(f"There is no job with uid {uid!r}.")
        return self._jobs[uid]

    async def find(self, query: JobQuery) -> Page[Job]:
        self._gate.check()
        below = _parse(query.cursor) if query.cursor is not None else None
        found = [job for job in self._jobs.values() if _matches(job, query) and (below is None or _place(job) < below)]
        page = _fitting(heapq.nlargest(query.limit, found, key=_place))
        more = len(found) > len(page)
        return Page[Job](items=tuple(page), next_cursor=_cursor(page[-1]) if more else None)

    async def count_queued(self, project: str, most: int | None = None) -> int:
        self._gate.check()
        count = self._count_queued(project)
        return count if most is None else min(count, most)

    async def get_many(self, uids: Sequence[str]) -> Sequence[Job]:
        self._gate.check()
        return [self._jobs[uid] for uid in uids if uid in self._jobs]

    async def due(self, now: datetime) -> Sequence[DueRow]:
        self._gate.check()
        over = [(job.due_at, job.uid) for job in self._due.values() if job.due_at is not None and job.due_at <= now]
        return [DueRow(uid, at, self._due[uid].version, self._due[uid].phase) for at, uid in sorted(over)]

    async def waiting(self, per_queue: int) -> Sequence[WaitingRow]:
        self._gate.check()
        lanes: defaultdict[tuple[str, str, str], list[Job]] = defaultdict(list)
        for job in self._queued.values():
            lanes[job.project, job.spec.queue, job.spec.cluster or ""].append(job)
        first = (heapq.nsmallest(per_queue, lanes[lane], key=_turn) for lane in sorted(lanes))
        return [_waiting(job) for lane in first for job in lane]

    async def placed(self) -> Sequence[PlacedRow]:
        self._gate.check()
        return [
            PlacedRow(uid=job.uid, project=job.project, phase=job.phase, demand=job.spec.demand(), version=job.version)
            for _, job in sorted(self._placed.items())
        ]

    async def sharing(self) -> Sequence[SharingRow]:
        self._gate.check()
        sharing = sorted((uid, job.project, job.spec.cluster) for uid, job in self._sharing.items())
        return [SharingRow(uid, project, cluster or "") for uid, project, cluster in sharing]

    async def save(self, job: Job, events: Sequence[Event], *, fence: Lease | None = None) -> None:
        self._gate.check()
        if fence is not None and not _holds(fence, self._leases.get(fence.name)):
            raise StaleVersion(f"The lease {fence.name!r} was taken by another; its holder goes on.")
        stored = self._jobs.get(job.uid)
        if stored is None:
            raise NotFound(f"There is no job with uid {job.uid}; it was pruned.")
        expected = events[0].seq - 1
        if stored.version != expected:
            raise StaleVersion(f"Job {job.uid} is at version {stored.version}, not {expected}; read it again.")
        self._events[job.uid] += events
        if not job.live:
            self._refs.pop(job.uid, None)
        self._put(job)

    async def events(self, uid: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        self._gate.check()
        return [event for event in self._events.get(uid, ()) if event.seq > after][:limit]

    async def prune(self, *, finished_before: datetime, limit: int) -> Sequence[Job]:
        self._gate.check()
        over = [
            (job.finished_at, job.uid)
            for job in self._jobs.values()
            if job.finalised and job.finished_at is not None and job.finished_at < finished_before
        ]
        gone = [self._jobs.pop(uid) for _, uid in heapq.nsmallest(limit, over)]
        uids = {job.uid for job in gone}
        for job in gone:
            del self._events[job.uid]
            if self._uids.get((job.project, job.id)) == job.uid:
                del self._uids[job.project, job.id]
            for part in (self._refs, self._due, self._queued, self._placed, self._sharing):
                part.pop(job.uid, None)
        self._keys = {name: kept for name, kept in self._keys.items() if kept[1] not in uids}
        return gone

    def named_packages(self) -> set[Name]:
        """Return the packages that a live job names."""
        return {name for names in self._refs.values() for name in names}

    def _count_queued(self, project: str) -> int:
        return sum(job.project == project for job in self._queued.values())

    def _put(self, job: Job) -> None:
        if self.witness is not None:
            self.witness(self._jobs.get(job.uid), job)
        self._jobs[job.uid] = job
        if job.deleted and self._uids.get((job.project, job.id)) == job.uid:
            del self._uids[job.project, job.id]
        for part, belongs in (
            (self._due, job.due_at is not None),
            (self._queued, job.phase is JobPhase.QUEUED and not job.deleted),
            (self._placed, job.phase in PLACED and not job.deleted),
            (self._sharing, job.live and job.spec.cluster is not None),
        ):
            if belongs:
                part[job.uid] = job
            else:
                part.pop(job.uid, None)


def _holds(fence: Lease, last: Lease | None) -> bool:
    return last is not None and (last.holder, last.token) == (fence.holder, fence.token)


def _fitting(jobs: Sequence[Job]) -> Sequence[Job]:
    """Return the first of the jobs that have PAGE_BYTES together, or the first alone."""
    sizes = accumulate(len(job.model_dump_json().encode()) for job in jobs)
    return jobs[: max(1, sum(size <= PAGE_BYTES for size in sizes))]


def _matches(job: Job, query: JobQuery) -> bool:
    return not job.deleted and all(
        (
            query.projects is None or job.project in query.projects,
            query.phases is None or job.phase in query.phases,
            query.owner is None or job.owner == query.owner,
            query.name_prefix is None or job.name.startswith(query.name_prefix),
            query.label is None or job.spec.labels.get(query.label[0]) == query.label[1],
            query.created_after is None or job.created_at >= query.created_after,
            query.created_before is None or job.created_at < query.created_before,
        )
    )


def _place(job: Job) -> tuple[datetime, str]:
    return job.created_at, job.uid


def _turn(job: Job) -> tuple[int, datetime, str]:
    return -job.spec.priority, job.created_at, job.uid


def _waiting(job: Job) -> WaitingRow:
    return WaitingRow(
        uid=job.uid,
        project=job.project,
        queue=job.spec.queue,
        priority=job.spec.priority,
        created_at=job.created_at,
        not_before=job.not_before,
        demand=job.spec.demand(),
    )


def _cursor(job: Job) -> str:
    return f"{job.created_at.isoformat()}~{job.uid}"


def _parse(cursor: str) -> tuple[datetime, str]:
    match = _CURSOR.fullmatch(cursor)
    try:
        born = datetime.fromisoformat(match[1]) if match else None
    except ValueError:
        born = None
    if match is None or born is None or born.tzinfo is None:
        raise Invalid("The cursor is not one that this server gave. Start again without it.", field="cursor")
    return born, match[2]
