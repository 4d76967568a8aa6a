"""Ray clusters: as the platform sees them, and those that jobs share, which it makes and keeps."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from raysvc.domain.event import Event, EventKind
from raysvc.domain.model import Instant, Model, Name, Uid
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.domain.record import Record
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.errors import Invalid


class ClusterPhase(StrEnum):
    PENDING = "PENDING"
    STARTING = "STARTING"
    READY = "READY"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    SUSPENDED = "SUSPENDED"
    GONE = "GONE"


_P = ClusterPhase
CLUSTER_TRANSITIONS: Mapping[ClusterPhase, frozenset[ClusterPhase]] = MappingProxyType(
    {
        _P.PENDING: frozenset({_P.STARTING, _P.STOPPING, _P.FAILED}),
        _P.STARTING: frozenset({_P.READY, _P.STOPPING, _P.FAILED}),
        _P.READY: frozenset({_P.DEGRADED, _P.STOPPING, _P.FAILED}),
        _P.DEGRADED: frozenset({_P.READY, _P.STOPPING, _P.FAILED}),
        _P.FAILED: frozenset({_P.STOPPING}),
        # Idle past its time: SUSPENDED, and a submit wakes it.
        _P.STOPPING: frozenset({_P.SUSPENDED, _P.GONE}),
        _P.SUSPENDED: frozenset({_P.STARTING, _P.STOPPING}),
        _P.GONE: frozenset(),
    }
)
# Where something of it is, or is to be, at the backend.
MADE = frozenset(_P) - {_P.PENDING, _P.GONE}
# What a wait for a cluster waits out.
UNSETTLED = frozenset({_P.PENDING, _P.STARTING, _P.STOPPING})

Ownership = Literal["platform", "raysvc", "foreign"]


class Cluster(Model):
    """A place where jobs run, and what it has now. `project` is its owner; its dashboard belongs to that project."""

    name: Name
    project: Name
    backend: str
    phase: ClusterPhase
    reason: Reason | None = None
    owner: Ownership = Field(
        default="platform",
        description="platform: where jobs run that name no cluster; raysvc: made or adopted by it; foreign: neither, "
        "and left alone",
    )
    uid: Uid | None = Field(default=None, description="of its record; None: it has none")
    ray_version: str | None = None
    nodes: int = 0
    resources: Resources = Field(default=Resources(), description="total, logical")
    used: Resources = Field(default=Resources(), description="in use now, logical")
    free_memory: int | None = Field(default=None, description="bytes free on the head node, measured")
    autoscaling: Scale | None = Field(default=None, description="workers; None: the cluster has a fixed size")
    max_running_jobs: int = Field(default=1, ge=0)


class ClusterSpec(Model):
    """What a user asks for: a head that holds the drivers of so many jobs at once, and workers."""

    shape: Shape = Field(default=Shape(workers=(WorkerGroup(),)), description="its groups of workers")
    image: str | None = Field(default=None, min_length=1, max_length=512, description="None: the server's own")
    max_running_jobs: int = Field(default=4, ge=1, le=100, description="at once; each takes 1 GiB of the head")
    idle_ttl_s: float = Field(
        default=600, ge=1, le=31_536_000, description="a worker without work goes after this, down to its group's min"
    )
    suspend_ttl_s: float | None = Field(
        default=1800, ge=1, le=31_536_000, description="without a job for so long it is suspended; None: never"
    )

    @model_validator(mode="after")
    def _check_groups(self) -> "ClusterSpec":
        names = [group.name for group in self.shape.workers]
        if len(set(names)) < len(names):
            raise ValueError("shape.workers: two groups have the same name")
        if not self.capacity().bounded:
            raise ValueError("its workers together have more than any cluster could have")
        return self

    @property
    def elastic(self) -> bool:
        return any(group.elastic for group in self.shape.workers)

    @property
    def workers(self) -> Scale:
        """The workers of all groups together."""
        scales = [group.scale for group in self.shape.workers]
        lowest, wanted, most = (sum(getattr(scale, name) for scale in scales) for name in ("min", "want", "max"))
        return Scale.model_construct(min=lowest, want=wanted, max=most)

    def capacity(self) -> Resources:
        """Return what its workers have together when there are as many as there may be; alone, its head's one CPU."""
        total = Resources() if self.shape.workers else Resources(cpus=1)
        for group in self.shape.workers:
            total = total.plus(group.offered, group.scale.max if group.elastic else group.scale.want)
        return total


class NewCluster(Model):
    """A cluster that is to be made."""

    name: Name
    spec: ClusterSpec = ClusterSpec()


class NewScale(Model):
    """Other bounds for a group of workers. `group` None: its only one."""

    group: str | None = None
    min: int = Field(ge=0, le=100_000)
    max: int = Field(ge=0, le=100_000)


class Foreign(Model):
    """A cluster that others made: how it is shown, and the spec that it would be adopted with."""

    cluster: Cluster
    spec: ClusterSpec


class Connection(Model):
    """How Ray's own tools reach a cluster through this server. Tokens stand in no answer: `token` says where one is."""

    cluster: Name
    address: str = Field(description="for RAY_ADDRESS and JobSubmissionClient")
    dashboard: str | None = Field(description="null: this server shows no dashboard of a shared cluster yet")
    metadata: dict[str, str] = Field(description="what a submit carries, so that it runs on this cluster")
    token: str = "RAYSVC_TOKEN, or a token of your own (raysvc token create)"  # noqa: S105 where it is, not what


class SharedCluster(Record[ClusterSpec, ClusterPhase]):
    """A cluster of a project that its jobs share. Its `id` is its name.

    `generation` counts what the backend must be told, `applied` is the one that it was told last. `adopted` is the name
    of an object that others made; without one it is our own, named by the uid.
    """

    TRANSITIONS: ClassVar[Mapping[ClusterPhase, frozenset[ClusterPhase]]] = CLUSTER_TRANSITIONS

    generation: int = 1
    applied: int = 0
    adopted: str | None = None
    fixed: bool = Field(default=False, description="it was made without Ray's autoscaler, since no group had a range")
    idle_since: Instant | None = Field(default=None, description="when its last job ended; None while one lives")
    stop_requested: bool = Field(default=False, description="it is to be deleted")
    unknown_since: Instant | None = None
    finished_at: Instant | None = None
    deleted: bool = Field(default=False, description="it is gone, and its name is free again")

    @property
    def object_name(self) -> str:
        """What it is called outside: the idempotency key towards the backend."""
        return self.adopted or f"cluster-{self.uid}"

    @property
    def awake(self) -> bool:
        """Whether it is to run now."""
        return self.phase in {_P.PENDING, _P.STARTING, _P.READY, _P.DEGRADED, _P.FAILED} and not self.stop_requested

    def shown(self, backend: str) -> Cluster:
        """Return how it is shown."""
        spec = self.spec
        return Cluster(
            name=self.id,
            project=self.project,
            backend=backend,
            phase=self.phase,
            reason=self.reason,
            owner="raysvc",
            uid=self.uid,
            resources=spec.capacity(),
            autoscaling=spec.workers if spec.elastic else None,
            max_running_jobs=spec.max_running_jobs,
        )


Change = tuple[SharedCluster, Event]


def create(new: NewCluster, *, uid: str, project: str, owner: str, now: datetime, adopted: str | None = None) -> Change:
    """Return the new PENDING cluster and its first event."""
    cluster = SharedCluster(
        id=new.name,
        uid=uid,
        project=project,
        spec=new.spec,
        phase=_P.PENDING,
        reason=reason(ReasonCode.PROVISIONING),
        owner=owner,
        created_at=now,
        updated_at=now,
        adopted=adopted,
        fixed=adopted is None and not new.spec.elastic,
        idle_since=now,
    )
    message = f"adopted from {adopted}" if adopted else f"created as {new.name}"
    return cluster.change(EventKind.SUBMITTED, now, actor=owner, message=message)


def scale(cluster: SharedCluster, new: NewScale, now: datetime, *, actor: str) -> Change:
    """Return the cluster with other bounds of a group. Raises ValueError for a group it has not, or a wrong order.

    Raises Invalid for a range where nothing would move between its ends.
    """
    if cluster.fixed and new.min < new.max:
        raise Invalid(
            f"Cluster {cluster.id} was made with a fixed size, so it has no autoscaler that would move between "
            f"{new.min} and {new.max} workers. Give one number, or make another cluster with a range.",
            field="max",
        )
    groups = cluster.spec.shape.workers
    named = new.group or (groups[0].name if len(groups) == 1 else "")
    if all(group.name != named for group in groups):
        there = ", ".join(group.name for group in groups) or "none"
        raise ValueError(f"it has no group of workers {named!r}; it has: {there}")
    changed = tuple(_bounded(group, new) if group.name == named else group for group in groups)
    spec = ClusterSpec(**{**dict(cluster.spec), "shape": Shape(workers=changed)})
    message = f"{named} scaled to {new.min}..{new.max} by {actor}"
    fields = {"spec": spec, "generation": cluster.generation + 1}
    return cluster.change(EventKind.REVISED, now, actor=actor, message=message, **fields)


def _bounded(group: WorkerGroup, new: NewScale) -> WorkerGroup:
    want = min(max(group.scale.want, new.min), max(new.min, new.max))
    return group.model_copy(update={"scale": Scale(min=new.min, want=want, max=new.max)})
