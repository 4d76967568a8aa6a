"""How lists are asked for and answered, and the slim rows the scheduler decides on."""

from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from pydantic import Field

from raysvc.domain.cluster import Cluster
from raysvc.domain.job import JobPhase
from raysvc.domain.model import Instant, Model, Uid
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


class PlacedRow(Model):
    """A job that occupies a cluster."""

    uid: Uid
    project: str
    phase: JobPhase
    demand: Resources


class Snapshot(Model):
    """All that `schedule` may know."""

    waiting: tuple[WaitingRow, ...]
    placed: tuple[PlacedRow, ...]
    limits: dict[str, Limits] = Field(default_factory=dict)
    cluster: Cluster
    paused: bool = False
    paused_message: str = ""
