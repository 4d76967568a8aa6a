"""Jobs for tests: each with an id and a uid of its own, born a second after the one before."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import TERMINAL, Job, JobPhase, JobSpec, submit
from raysvc.domain.model import make_uid
from raysvc.domain.project import Package
from raysvc.domain.reason import ReasonCode, reason
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.ports import Store

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
_NUMBERS = count(1)
_P = JobPhase
_WAY: dict[JobPhase, tuple[JobPhase, ...]] = {
    _P.QUEUED: (),
    _P.STARTING: (_P.STARTING,),
    _P.RUNNING: (_P.STARTING, _P.RUNNING),
    _P.STOPPING: (_P.STARTING, _P.RUNNING, _P.STOPPING),
    _P.SUCCEEDED: (_P.STARTING, _P.RUNNING, _P.SUCCEEDED),
    _P.FAILED: (_P.FAILED,),
    _P.CANCELLED: (_P.CANCELLED,),
}
# Of a spec: all that a store must bring back.
FULL: dict[str, Any] = {
    "name": "train ✓",
    "runtime_env": {"env_vars": {"TEXT": "a\tb 'quoted' \\ ✓"}, "pip": ["torch"], "n": 1.5, "none": None},
    "metadata": {"k": "v"},
    "resources": Resources(cpus=0.5, gpus=1, memory=1 << 34, custom={"TPU": 2}),
    "shape": Shape(workers=(WorkerGroup(scale=Scale(want=2, max=4), resources=Resources(cpus=3)),)),
    "labels": {"team": "vision", "tier": ""},
    "priority": 7,
    "queue": "nightly",
    "timeout_s": 12.5,
}


def seconds(number: float) -> datetime:
    return START + timedelta(seconds=number)


def new(
    job_id: str | None = None, *, project: str = "default", at: datetime | None = None, owner: str = "ann", **spec: Any
) -> tuple[Job, list[Event]]:
    """Return a new job and its first event."""
    number = next(_NUMBERS)
    now = at or seconds(number)
    job, event = submit(
        JobSpec(**{"entrypoint": "python train.py", **spec}),
        job_id=job_id or f"job_{number}",
        uid=make_uid(int(now.timestamp() * 1000), number),
        project=project,
        owner=owner,
        now=now,
    )
    return job, [event]


async def added(store: Store, job_id: str | None = None, **about: Any) -> Job:
    """Return a new job that is in the store."""
    job, events = new(job_id, **about)
    return await store.jobs.add(job, events)


async def saved(store: Store, job: Job, kind: EventKind = EventKind.REASON, **fields: Any) -> Job:
    """Return the job with fields changed, in the store too."""
    job, event = job.change(kind, job.updated_at + timedelta(seconds=1), actor="test", **fields)
    await store.jobs.save(job, [event])
    return job


async def moved(store: Store, job: Job, phase: JobPhase, **fields: Any) -> Job:
    """Return the QUEUED job in that phase, over all the phases between; one that ends says when."""
    for step in _WAY[phase]:
        at = job.updated_at + timedelta(seconds=1)
        last = fields if step is phase else {}
        ends = {"finished_at": at} if step in TERMINAL else {}
        job, event = job.to(step, reason(ReasonCode.WAITING), at, **{**ends, **last})
        await store.jobs.save(job, [event])
    return job


def package(name: str = "a.zip", *, project: str = "default", digest: str = "d1", pinned_until: float = 0) -> Package:
    return Package(
        project=project,
        name=name,
        size=1,
        sha256="s",
        digest=digest,
        created_at=START,
        pinned_until=seconds(pinned_until),
    )
