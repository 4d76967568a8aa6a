"""Training jobs: what a user asks for, the record of it, its attempts, and the phases it can be in."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from operator import not_
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import to_json

from raysvc.domain.event import Event, EventKind
from raysvc.domain.model import EnvName, Instant, Model, Name, Uid
from raysvc.domain.placement import AUTOSCALER, DRIVER, DRIVER_MEMORY, HEAD, Ask, Placement
from raysvc.domain.plain import PlainObject, PlainTexts
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.domain.record import Record
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup


class JobPhase(StrEnum):
    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


_P = JobPhase
# A retry is an edge back to QUEUED, never a phase.
JOB_TRANSITIONS: Mapping[JobPhase, frozenset[JobPhase]] = MappingProxyType(
    {
        _P.QUEUED: frozenset({_P.STARTING, _P.FAILED, _P.CANCELLED}),
        _P.STARTING: frozenset({_P.RUNNING, _P.SUCCEEDED, _P.FAILED, _P.STOPPING, _P.QUEUED}),
        _P.RUNNING: frozenset({_P.SUCCEEDED, _P.FAILED, _P.STOPPING, _P.QUEUED}),
        _P.STOPPING: frozenset({_P.CANCELLED, _P.SUCCEEDED, _P.FAILED, _P.QUEUED}),
        _P.SUCCEEDED: frozenset(),
        _P.FAILED: frozenset(),
        _P.CANCELLED: frozenset(),
    }
)
TERMINAL = frozenset({_P.SUCCEEDED, _P.FAILED, _P.CANCELLED})
LIVE = frozenset(_P) - TERMINAL
# Phases in which an attempt occupies the cluster.
PLACED = frozenset({_P.STARTING, _P.RUNNING, _P.STOPPING})


class PayloadCode(Model):
    """Code that ships with raysvc: a program under `jobs/`, by its name (say `train_lm`)."""

    kind: Literal["payload"] = "payload"
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")


class ImageCode(Model):
    """Code baked into a container image; needs a backend that runs containers."""

    kind: Literal["image"] = "image"
    image: str = Field(min_length=1, max_length=512)


class ArchiveCode(Model):
    """Code as an uploaded package or remote archive: becomes `runtime_env.working_dir`."""

    kind: Literal["archive"] = "archive"
    uri: str = Field(min_length=1, max_length=2048)


class Retry(Model):
    """How often each class of failure is tried again, and how long to wait first (doubles each time)."""

    infrastructure: int = Field(default=3, ge=0, le=100, description="lost node, head or driver")
    user: int = Field(default=0, ge=0, le=100, description="the entrypoint's own failure")
    backoff_s: float = Field(default=1.0, ge=0, le=3600)
    max_backoff_s: float = Field(default=300.0, ge=0, le=86400)


class JobSpec(Model):
    """What a user asks for. `runtime_env` and `metadata` are Ray's; the rest is raysvc's."""

    entrypoint: str = Field(min_length=1, max_length=65536, description="the driver's shell command")
    name: str | None = Field(default=None, max_length=128)
    code: PayloadCode | ImageCode | ArchiveCode | None = Field(default=None, discriminator="kind")
    runtime_env: PlainObject = Field(default_factory=dict)
    metadata: PlainTexts = Field(default_factory=dict)
    resources: Resources = Field(default=Resources(), description="of the driver (entrypoint_num_cpus …)")
    label_selector: PlainTexts = Field(default_factory=dict, description="of the driver's node")
    shape: Shape = Shape()
    queue: Name = "default"
    priority: int = Field(default=0, ge=-1000, le=1000, description="higher goes first")
    timeout_s: float | None = Field(default=None, gt=0, le=31_536_000, description="wall clock, over all attempts")
    retry: Retry = Retry()
    labels: PlainTexts = Field(default_factory=dict)
    secrets: dict[EnvName, EnvName] = Field(
        default_factory=dict, description="environment variable -> name of a secret of the project"
    )
    # Left out where they are the default, so that a server of the version before reads the record (R7).
    cluster: Name | None = Field(
        default=None,
        exclude_if=not_,
        description="a cluster that the project's jobs share; None: where jobs run anyway",
    )
    driver: Literal["ray", "warm"] = Field(
        default="ray",
        exclude_if="ray".__eq__,  # not a lambda: each submit asks three times, and this asks no Python
        description="who starts the entrypoint: Ray's job server, or the project's pool of warm drivers (short jobs)",
    )

    @model_validator(mode="after")
    def _check_demand(self) -> "JobSpec":
        # The sum is kept and read again, so it is held to the bounds of each of them.
        if self.shape.workers and not self.demand().bounded:
            raise ValueError("driver and workers together ask for more than any cluster could have")
        return self

    def demand(self) -> Resources:
        """Return what the job occupies while it runs: its driver and its workers."""
        return _together(self.shape, self.resources)

    def groups(self) -> tuple[WorkerGroup, ...]:
        """Return the pods beside the head. A driver that asks for GPUs is one of them: heads have none."""
        driver, groups = self.resources, self.shape.workers
        if not driver.gpus:
            return groups
        return (*groups, WorkerGroup(name=DRIVER, scale=Scale(min=1, want=1, max=1), resources=driver))

    def head(self, own: Resources = HEAD) -> Resources:
        """Return what the head asks for: what a head takes by itself (`own`), and a driver without GPUs."""
        driver = Resources() if self.resources.gpus else self.resources
        return Resources(cpus=max(own.cpus, driver.cpus), memory=own.memory + (driver.memory or DRIVER_MEMORY))

    def ask(self, project: str, own: Resources = HEAD) -> Ask:
        """Return what its pods ask of nodes together. `own`: what a head takes by itself."""
        head = self.head(own)
        if any(group.elastic for group in self.shape.workers):
            head = head.plus(AUTOSCALER)
        pods = tuple(group.model_copy(update={"resources": group.pod}) for group in self.groups())
        return Ask(project=project, groups=pods, head=head)


@lru_cache(maxsize=1024)
def _together(shape: Shape, driver: Resources) -> Resources:
    # Most jobs ask for what another asked for, and each submit needs the sum several times.
    return shape.demand().plus(driver)


_REF = re.compile(r"job-(?P<uid>[0-9a-hjkmnp-tv-z]{16})-(?P<attempt>[1-9][0-9]{0,5})")


class JobRef(Model):
    """One attempt, as the world outside knows it. Its name is the idempotency key towards the cluster."""

    uid: Uid
    attempt: int = Field(ge=1)
    on: Uid | None = Field(default=None, description="the shared cluster that it runs on; None: it has its own place")

    @property
    def name(self) -> str:
        return f"job-{self.uid}-{self.attempt}"

    @classmethod
    def parse(cls, name: str) -> "JobRef | None":
        """Return the ref that has this name, or None where the name is not one of ours."""
        match = _REF.fullmatch(name)
        return cls(uid=match["uid"], attempt=int(match["attempt"])) if match else None


class Attempt(Model):
    """One try at a job. A record of its own, since cost, preemption and placement hang on it."""

    job: Uid
    number: int = Field(ge=1)
    cluster: str
    node: str | None = None
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None
    exit_code: int | None = None
    reason: Reason | None = None
    # Left out where there is none, so that a server of the version before reads the record (R7).
    placement: Placement | None = Field(default=None, exclude_if=not_, description="where its pods go, if chosen")
    on: Uid | None = Field(default=None, exclude_if=not_, description="the uid of a cluster that jobs share")

    @property
    def ref(self) -> JobRef:
        return JobRef(uid=self.job, attempt=self.number, on=self.on)


class Job(Record[JobSpec, JobPhase]):
    """A job of a project. `attempt` is the number of the current or last attempt, 0 before the first."""

    TRANSITIONS: ClassVar[Mapping[JobPhase, frozenset[JobPhase]]] = JOB_TRANSITIONS

    attempt: int = 0
    attempts: tuple[Attempt, ...] = ()
    cluster: str | None = None
    stop_requested: bool = False
    infrastructure_retries: int = 0
    user_retries: int = 0
    started_at: Instant | None = Field(default=None, description="when the first attempt began to run")
    finished_at: Instant | None = None
    attempt_started_at: Instant | None = None
    not_before: Instant | None = Field(default=None, description="backoff: no attempt starts before")
    unknown_since: Instant | None = None
    due_at: Instant | None = Field(default=None, description="when the reconciler looks next; None: never")
    finalised: bool = Field(default=False, description="logs are archived and the cluster's records gone")
    deleted: bool = False

    @property
    def name(self) -> str:
        return self.spec.name or self.id

    @property
    def ref(self) -> JobRef | None:
        if not self.attempt:
            return None
        return JobRef(uid=self.uid, attempt=self.attempt, on=self._last.on if self._last else None)

    @property
    def placement(self) -> Placement | None:
        """Where the current attempt's pods go, if that was chosen."""
        return self._last.placement if self._last else None

    @property
    def _last(self) -> Attempt | None:
        """The current attempt's record; None before there is one, as in a dry run."""
        last = self.attempts[-1] if self.attempts else None
        return last if last and last.number == self.attempt else None

    @property
    def live(self) -> bool:
        return self.phase in LIVE

    @property
    def deadline(self) -> datetime | None:
        """When the job's wall-clock timeout is over; None while it has not started or has no timeout."""
        if self.started_at is None or self.spec.timeout_s is None:
            return None
        return self.started_at + timedelta(seconds=self.spec.timeout_s)

    def with_attempt(self, **fields: Any) -> tuple[Attempt, ...]:
        """Return the attempts with the current one changed."""
        return (*self.attempts[:-1], self.attempts[-1].model_copy(update=fields))


_WAITING = reason(ReasonCode.WAITING)


@lru_cache(maxsize=256)
def _mould(project: str, owner: str) -> tuple[str, str]:
    """Return what the JSON of each new job has between its spec and its times, and behind those."""
    now, spec = datetime.fromtimestamp(0, UTC), JobSpec(entrypoint="true")
    fields = {"phase": JobPhase.QUEUED, "reason": _WAITING, "owner": owner}
    job = Job(id="_", uid="0" * 16, project=project, spec=spec, created_at=now, updated_at=now, **fields)
    middle = job.model_dump_json(include=set(fields))
    own = {"id", "uid", "project", "spec", "created_at", "updated_at", "version", "head"}
    return middle[1:-1], job.model_dump_json(exclude={*fields, *own})[1:-1]


def submit(spec: JobSpec, *, job_id: str, uid: str, project: str, owner: str, now: datetime) -> tuple[Job, Event]:
    """Return the new QUEUED job and its first event."""
    # The JSON of the whole, written round that of its spec at half the cost: a batch has thousands a second.
    middle, end = _mould(project, owner)
    at = to_json(now).decode()
    change = (
        f'{{"id":"{job_id}","uid":"{uid}","project":"{project}","spec":{spec.model_dump_json()},{middle},'
        f'"created_at":{at},"updated_at":{at},{end}}}'
    )
    job = Job(
        id=job_id,
        uid=uid,
        project=project,
        spec=spec,
        phase=JobPhase.QUEUED,
        reason=_WAITING,
        owner=owner,
        created_at=now,
        updated_at=now,
        version=1,
    )
    return job, job.born(EventKind.SUBMITTED, change, actor=owner, message=f"submitted as {job_id}")
