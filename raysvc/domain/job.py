"""Training jobs: what a user asks for, the record of it, its attempts, and the phases it can be in."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from raysvc.domain.event import Event, EventKind
from raysvc.domain.model import EnvName, Instant, Model, Name, Uid
from raysvc.domain.plain import PlainObject, PlainTexts
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.domain.record import Record
from raysvc.domain.resources import Resources, Shape


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
    # Left out where it is the default, so that a server of the version before reads the record (R7).
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


@lru_cache(maxsize=1024)
def _together(shape: Shape, driver: Resources) -> Resources:
    # Most jobs ask for what another asked for, and each submit needs the sum three times.
    return shape.demand().plus(driver)


_REF = re.compile(r"job-(?P<uid>[0-9a-hjkmnp-tv-z]{16})-(?P<attempt>[1-9][0-9]{0,5})")


class JobRef(Model):
    """One attempt, as the world outside knows it. Its name is the idempotency key towards the cluster."""

    uid: Uid
    attempt: int = Field(ge=1)

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

    @property
    def ref(self) -> JobRef:
        return JobRef(uid=self.job, attempt=self.number)


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
        return JobRef(uid=self.uid, attempt=self.attempt) if self.attempt else None

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


def submit(spec: JobSpec, *, job_id: str, uid: str, project: str, owner: str, now: datetime) -> tuple[Job, Event]:
    """Return the new QUEUED job and its first event."""
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
    )
    return job.change(EventKind.SUBMITTED, now, actor=owner, message=f"submitted as {job_id}")
