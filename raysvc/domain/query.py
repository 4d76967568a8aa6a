"""How lists are asked for and answered, and the slim rows the scheduler decides on."""

from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from pydantic import Field

from raysvc.domain.cluster import Cluster
from raysvc.domain.job import JobPhase
from raysvc.domain.model import Instant, Model, Uid
from raysvc.domain.node import NodeView
from raysvc.domain.placement import Ask, Placement
from raysvc.domain.pool import Pool
from raysvc.domain.project import Limits
from raysvc.domain.resources import Resources

T = TypeVar("T")

PAGE_BYTES = 16 << 20
"""What the records of one page have at most, as JSON, however many were asked for; but there is always one."""


class JobQuery(Model):
    """Which jobs, newest first. None means any; `projects` None means every project."""

    projects: tuple[str, ...] | None = None
    phases: tuple[JobPhase, ...] | None = None
    owner: str | None = None
    name_prefix: str | None = None
    label: tuple[str, str] | None = None
    created_after: Instant | None = None
    created_before: Instant | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = None


class Page(Model, Generic[T]):
    """One page; `next_cursor` is None on the last. A page before it may have fewer items than were asked for."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class DueRow(NamedTuple):
    """A job that the reconciler has to look at, as far as it says when. Not checked: there are thousands, often."""

    uid: str
    due_at: datetime
    version: int
    phase: JobPhase


class WaitingRow(Model):
    """A queued job as the scheduler sees it: never the whole spec."""

    uid: Uid
    project: str
    queue: str
    priority: int
    created_at: Instant
    not_before: Instant | None
    demand: Resources
    cluster: str | None = Field(default=None, description="the shared cluster that it names")
    ask: Ask | None = Field(default=None, description="what its pods ask of node pools; only where there are any")


class PlacedRow(Model):
    """A job that occupies a cluster."""

    uid: Uid
    project: str
    phase: JobPhase
    demand: Resources
    version: int = Field(default=0, description="of its record")
    cluster: str | None = Field(default=None, description="the shared cluster that it is on")


class SharingRow(NamedTuple):
    """A job that has not ended and names a shared cluster of its project."""

    uid: str
    project: str
    cluster: str


class Occupied(Model):
    """Where a placed attempt's pods are, or are to come."""

    attempt: str = Field(description="its Ref's name")
    ask: Ask
    placement: Placement


class Terrain(Model):
    """Node pools, what of them is there, and what is promised there. `nodes` None: they cannot be seen now."""

    pools: tuple[Pool, ...]
    nodes: tuple[NodeView, ...] | None
    quarantine: dict[str, str] = Field(default_factory=dict, description="node -> why it is there")
    occupied: tuple[Occupied, ...] = ()
    why: str = Field(default="", description="why nodes cannot be seen")


class Snapshot(Model):
    """All that `schedule` may know."""

    waiting: tuple[WaitingRow, ...]
    placed: tuple[PlacedRow, ...]
    limits: dict[str, Limits] = Field(default_factory=dict)
    cluster: Cluster
    shared: tuple[Cluster, ...] = Field(default=(), description="those that jobs name; each is of one project")
    terrain: Terrain | None = Field(default=None, description="None: no pool is declared, and nobody chooses nodes")
    paused: bool = False
    paused_message: str = ""
