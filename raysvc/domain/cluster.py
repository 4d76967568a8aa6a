"""Ray clusters as the platform sees them."""

from enum import StrEnum

from pydantic import Field

from raysvc.domain.model import Model, Name
from raysvc.domain.reason import Reason
from raysvc.domain.resources import Resources, Scale


class ClusterPhase(StrEnum):
    PENDING = "PENDING"
    STARTING = "STARTING"
    READY = "READY"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    SUSPENDED = "SUSPENDED"
    GONE = "GONE"


class Cluster(Model):
    """A place where jobs run, and what it has now. `project` is its owner; its dashboard belongs to that project."""

    name: Name
    project: Name
    backend: str
    phase: ClusterPhase
    reason: Reason | None = None
    ray_version: str | None = None
    nodes: int = 0
    resources: Resources = Field(default=Resources(), description="total, logical")
    used: Resources = Field(default=Resources(), description="in use now, logical")
    free_memory: int | None = Field(default=None, description="bytes free on the head node, measured")
    autoscaling: Scale | None = Field(default=None, description="workers; None: the cluster has a fixed size")
    max_running_jobs: int = Field(default=1, ge=0)
