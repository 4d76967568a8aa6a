"""Jobs and events as rows, and back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from raysvc.domain.event import Event
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import PlacedRow, WaitingRow
from raysvc.domain.resources import Resources
from raysvc.ports import Addition, Lease
from raysvc.store.instant import instant, micros

Row = dict[str, Any]

_WAITING_ROWS = TypeAdapter(list[WaitingRow])

# JobSpec.priority is at most this, so that `1000 - priority` is never negative; 52 bits of µs last until 2112.
_TOP_PRIORITY = 1000
_AGE_BITS = 52
# The fields of a job that decide columns which a change of phase leaves alone.
_FIXED = frozenset({"spec", "owner", "created_at"})


@dataclass(slots=True)
class NewJob:
    """What `add` writes. Made by the caller, so that the writer's thread spends its time in the database."""

    job: Job
    row: Row
    events: list[Row]
    labels: list[Row]
    packages: frozenset[str]
    key: str | None = None
    body_digest: str = ""
    most_queued: int | None = None

    @property
    def key_row(self) -> Row:
        project = self.job.project
        return {"project": project, "key": self.key, "body_digest": self.body_digest, "uid": self.job.uid}

    @property
    def sharing_row(self) -> Row:
        return {"uid": self.job.uid, "project": self.job.project, "cluster": self.job.spec.cluster}

    @classmethod
    def of(cls, new: Addition) -> "NewJob":
        job, events, packages, key, body_digest, most_queued = new
        row = {"uid": job.uid, "project": job.project, "id": job.id, **_fixed(job), **_moving(job)}
        return cls(job, row, event_rows(events), label_rows(job), frozenset(packages), key, body_digest, most_queued)


@dataclass(slots=True)
class SavedJob:
    """What `save` writes. `labels` is None where the change left the spec alone, as nearly every change does."""

    uid: str
    expected: int
    row: Row
    events: list[Row]
    labels: list[Row] | None
    live: bool
    fence: Lease | None = None

    @classmethod
    def of(cls, job: Job, events: Sequence[Event], fence: Lease | None = None) -> "SavedJob":
        row = {"b_uid": job.uid, **_moving(job)}
        labels = None
        if any(not _FIXED.isdisjoint(event.change) for event in events):
            row |= _fixed(job)
            labels = label_rows(job)
        return cls(job.uid, events[0].seq - 1, row, event_rows(events), labels, job.live, fence)


def turn(priority: int, born: int) -> int:
    """Return where a job born then (µs) stands in its lane, smallest first: by priority, higher first, then by age."""
    age = min(max(born, 0), (1 << _AGE_BITS) - 1)
    return (_TOP_PRIORITY - priority) << _AGE_BITS | age


def lane(project: str, queue: str, cluster: str | None = None) -> str:
    """Return the lane of a queue. Names hold no '/', so lanes sort by project, then by queue.

    Jobs that name a cluster have lanes of their own: while it is busy, they hide none of the others.
    """
    return f"{project}/{queue}/{cluster}" if cluster else f"{project}/{queue}"


def lanes_of(project: str) -> tuple[str, str]:
    """Return the bounds (from, below) of the lanes of a project."""
    return f"{project}/", f"{project}0"  # '0' is the character after '/'


def event_rows(events: Sequence[Event]) -> list[Row]:
    return [{"uid": e.uid, "seq": e.seq, "at": micros(e.at), "body": e.text} for e in events]


def label_rows(job: Job) -> list[Row]:
    if not job.spec.labels:
        return []
    born = micros(job.created_at)
    return [{"uid": job.uid, "key": k, "value": v, "created_at": born} for k, v in job.spec.labels.items()]


def waiting_rows(rows: Iterable[Any]) -> list[WaitingRow]:
    """Return rows of `waiting`. Built as one list, since the scheduler reads thousands at each tick (5 µs each)."""
    demands = _Demands()
    return _WAITING_ROWS.validate_python(
        [
            {
                "uid": uid,
                "project": project,
                "queue": queue,
                "priority": priority,
                "created_at": instant(created_at),
                "not_before": instant(not_before),
                "demand": demands[demand],
            }
            for uid, project, queue, priority, created_at, not_before, demand, _ in rows
        ]
    )


def placed_rows(rows: Iterable[Any]) -> list[PlacedRow]:
    """Return rows of `placed`."""
    demands = _Demands()
    return [
        PlacedRow(uid=uid, project=project, phase=JobPhase(phase), demand=demands[demand], version=version)
        for uid, project, phase, demand, version in rows
    ]


class _Demands(dict[str, Resources]):
    """Demands by their JSON, each parsed once: many jobs ask for the same."""

    def __missing__(self, text: str) -> Resources:
        self[text] = demand = Resources.model_validate_json(text)
        return demand


@lru_cache(maxsize=1024)
def _demand_text(demand: Resources) -> str:
    return demand.model_dump_json()


def _fixed(job: Job) -> Row:
    spec, born = job.spec, micros(job.created_at)
    return {
        "name": job.name,
        "owner": job.owner,
        "queue": spec.queue,
        "priority": spec.priority,
        "created_at": born,
        "turn": turn(spec.priority, born),
        "demand": _demand_text(spec.demand()),
    }


def _moving(job: Job) -> Row:
    waits = job.phase is JobPhase.QUEUED and not job.deleted
    return {
        "phase": job.phase.value,
        "lane": lane(job.project, job.spec.queue, job.spec.cluster) if waits else None,
        "not_before": micros(job.not_before),
        "due_at": micros(job.due_at),
        "finished_at": micros(job.finished_at),
        "finalised": job.finalised,
        "deleted": job.deleted,
        "version": job.version,
        "body": job.text,
    }
