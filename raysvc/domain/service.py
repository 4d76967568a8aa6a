"""Model deployments: what a user asks for, the record of it, its revisions, and the phases it can be in."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, StringConstraints, model_validator

from raysvc.domain.event import Event, EventKind
from raysvc.domain.model import Instant, Model
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.domain.record import Record
from raysvc.domain.resources import Resources

DEFAULT_PROJECT = "default"


class ServicePhase(StrEnum):
    PENDING = "PENDING"
    DEPLOYING = "DEPLOYING"
    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    GONE = "GONE"


_P = ServicePhase
SERVICE_TRANSITIONS: Mapping[ServicePhase, frozenset[ServicePhase]] = MappingProxyType(
    {
        _P.PENDING: frozenset({_P.DEPLOYING, _P.STOPPING, _P.FAILED}),
        _P.DEPLOYING: frozenset({_P.HEALTHY, _P.DEGRADED, _P.FAILED, _P.STOPPING}),
        _P.HEALTHY: frozenset({_P.DEPLOYING, _P.DEGRADED, _P.STOPPING}),
        _P.DEGRADED: frozenset({_P.HEALTHY, _P.DEPLOYING, _P.STOPPING}),
        _P.FAILED: frozenset({_P.DEPLOYING, _P.STOPPING}),
        _P.STOPPING: frozenset({_P.GONE}),
        _P.GONE: frozenset(),
    }
)
# Where something of the service is, or is to be, on its cluster.
PLACED = frozenset({_P.DEPLOYING, _P.HEALTHY, _P.DEGRADED, _P.STOPPING})
# What a wait for a service waits out.
UNSETTLED = frozenset({_P.PENDING, _P.DEPLOYING, _P.STOPPING})

# A service's name stands in host names of some clusters and in the model's name, before which a project may stand.
ServiceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class EngineSpec(Model):
    """How vLLM is started, in vLLM's own words. None: vLLM's default."""

    tensor_parallel: int = Field(default=1, ge=1, le=1024)
    pipeline_parallel: int = Field(default=1, ge=1, le=1024)
    max_model_len: int | None = Field(default=None, ge=1, le=100_000_000)
    max_num_seqs: int | None = Field(default=None, ge=1, le=100_000)
    max_num_batched_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    kv_cache_dtype: str = Field(default="auto", pattern=r"^[a-z0-9_]{1,32}$")
    dtype: str = Field(default="auto", pattern=r"^[a-z0-9_]{1,32}$")
    enforce_eager: bool = False
    trust_remote_code: bool = Field(default=False, description="runs code of the model's author; policies may allow it")


class ReplicaScale(Model):
    """How many replicas: the backend moves between min and max, by requests in flight a replica."""

    min: int = Field(default=1, ge=0, le=1000)
    max: int = Field(default=1, ge=1, le=1000)
    target_ongoing_requests: float | None = Field(default=None, gt=0, le=1e6, description="None: from the plan")

    @model_validator(mode="after")
    def _check_order(self) -> "ReplicaScale":
        if self.min > self.max:
            raise ValueError(f"min <= max does not hold for {self.min}, {self.max}")
        return self


class ServiceSpec(Model):
    """What a user asks for. `resources` are those of one replica."""

    model: str = Field(min_length=1, max_length=2048, description="directory, or hf:// https:// s3://")
    engine: EngineSpec = EngineSpec()
    replicas: ReplicaScale = ReplicaScale()
    resources: Resources = Field(default=Resources(cpus=1))
    start_timeout_s: float = Field(
        default=1800, ge=1, le=86_400, description="a revision whose replicas take longer has failed"
    )

    def demand(self) -> Resources:
        """Return what all replicas need together when there are as many as there may be."""
        return Resources().plus(self.resources, self.replicas.max)


class Revision(Model):
    """One state of the spec that was asked for. A rollback is a new revision with an old spec.

    How many replicas there are is the service's, not a revision's: to scale makes none, and starts no engine anew.
    """

    number: int = Field(ge=1)
    spec: ServiceSpec
    created_at: Instant
    by: str
    reason: Reason | None = Field(default=None, description="why it failed, where it did")


class Service(Record[ServiceSpec, ServicePhase]):
    """A service of a project. Its `id` is its name; clients ask for the model `id`, or `project/id`.

    `revision` is the one that is wanted, and `spec` is its spec. `serving` is the one that takes requests, 0 before the
    first was healthy: while the two differ, replicas of both are there, as far as there is room. `generation` counts
    what the backend must be told, and `applied` is the one that it was told last.
    """

    TRANSITIONS: ClassVar[Mapping[ServicePhase, frozenset[ServicePhase]]] = SERVICE_TRANSITIONS

    revision: int = 1
    revisions: tuple[Revision, ...] = ()
    serving: int = 0
    generation: int = 1
    applied: int = 0
    deploying_since: Instant | None = None
    switched_at: Instant | None = Field(default=None, description="when `serving` last changed")
    stop_requested: bool = False
    unknown_since: Instant | None = None
    finished_at: Instant | None = None
    deleted: bool = Field(default=False, description="it is gone, and its name is free again")

    @property
    def models(self) -> tuple[str, ...]:
        """The names that clients may ask for."""
        full = f"{self.project}/{self.id}"
        return (full, self.id) if self.project == DEFAULT_PROJECT else (full,)

    def of(self, number: int) -> Revision | None:
        """Return that revision; None where it is too old to be kept, or never was."""
        return next((each for each in self.revisions if each.number == number), None)

    @property
    def deployed(self) -> tuple[tuple[int, ServiceSpec], ...]:
        """The revisions whose replicas are to be there now, the wanted one first, each with its spec.

        Until the wanted one has proved itself, the one before goes on. All have the service's own number of replicas.
        """
        before = self.of(self.serving) if self.serving not in {0, self.revision} else None
        if before is None:
            return ((self.revision, self.spec),)
        scaled = before.spec.model_copy(update={"replicas": self.spec.replicas})
        return (self.revision, self.spec), (self.serving, scaled)

    def failed(self, why: Reason) -> tuple[Revision, ...]:
        """Return the revisions with the current one's failure noted."""
        return tuple(
            each.model_copy(update={"reason": why}) if each.number == self.revision else each for each in self.revisions
        )


Change = tuple[Service, Event]
# Revisions that are kept: older ones cannot be gone back to.
MOST_REVISIONS = 20
_WAITING = reason(ReasonCode.SERVICE_ACCEPTED)


def deploy(spec: ServiceSpec, *, name: str, uid: str, project: str, owner: str, now: datetime) -> tuple[Service, Event]:
    """Return the new PENDING service and its first event."""
    service = Service(
        id=name,
        uid=uid,
        project=project,
        spec=spec,
        phase=ServicePhase.PENDING,
        reason=_WAITING,
        owner=owner,
        created_at=now,
        updated_at=now,
        revisions=(Revision(number=1, spec=spec, created_at=now, by=owner),),
        deploying_since=now,
    )
    return service.change(EventKind.SUBMITTED, now, actor=owner, message=f"deployed as {name}")


def revise(service: Service, spec: ServiceSpec, now: datetime, *, actor: str, note: str = "") -> list[Change]:
    """Return the steps to a new revision with that spec; the last one is the service as it is to be."""
    newest = max(each.number for each in service.revisions)
    added = Revision(number=newest + 1, spec=spec, created_at=now, by=actor)
    # The one that serves is what a failure goes back to, however old.
    kept = [each for each in service.revisions if each.number == service.serving]
    kept += [each for each in service.revisions if each.number != service.serving][-(MOST_REVISIONS - 2) :]
    fields = {
        "spec": spec,
        "revision": added.number,
        "revisions": (*sorted(kept, key=lambda each: each.number), added),
    }
    return _wish(service, now, actor, f"revision {added.number} by {actor}{note}", fields)


def scale(service: Service, replicas: ReplicaScale, now: datetime, *, actor: str) -> list[Change]:
    """Return the steps to another number of replicas: no new revision, and no engine is started anew."""
    spec = service.spec.model_copy(update={"replicas": replicas})
    return _wish(service, now, actor, f"scaled to {replicas.min}..{replicas.max} by {actor}", {"spec": spec})


def revert(service: Service, now: datetime, *, actor: str) -> list[Change]:
    """Return the steps from a revision that is on its way back to the one that still serves: nothing is started."""
    back = service.of(service.serving)
    if back is None:
        message = f"service {service.uid} serves no revision to go back to"
        raise ValueError(message)
    return _wish(service, now, actor, f"back to revision {back.number} by {actor}", returned(service, back))


def returned(service: Service, back: Revision) -> dict[str, Any]:
    """Return the fields of a service that goes back to a revision."""
    spec = back.spec.model_copy(update={"replicas": service.spec.replicas})
    return {"revision": back.number, "spec": spec}


def _wish(service: Service, now: datetime, actor: str, message: str, fields: dict[str, Any]) -> list[Change]:
    fields = {**fields, "generation": service.generation + 1, "deploying_since": now}
    first = service.change(EventKind.REVISED, now, actor=actor, message=message, **fields)
    if service.phase in {ServicePhase.PENDING, ServicePhase.DEPLOYING}:
        return [first]
    return [first, first[0].to(ServicePhase.DEPLOYING, reason(ReasonCode.DEPLOYING), now, actor=actor)]
