"""Where a job's workers and head go, or why nowhere."""

from enum import StrEnum

from pydantic import Field

from raysvc.domain.model import Model, Name
from raysvc.domain.resources import Resources, Topology, WorkerGroup


class Ask(Model):
    """What is to be placed, all of it or nothing: each group whole on one pool, and the head on a system pool."""

    project: Name = "default"
    groups: tuple[WorkerGroup, ...] = ()
    head: Resources = Resources()


class GroupPlacement(Model):
    """A group's place. `nodes` says how many workers go to each node that is there, `new_nodes` how many are made."""

    group: str
    pool: Name
    nodes: dict[str, int]
    new_nodes: int = 0
    domain: str | None = Field(default=None, description="the value of the topology's label, or the only node's name")


class Placement(Model):
    """Where everything goes. `head_node` None: a node that the system pool has yet to make."""

    groups: tuple[GroupPlacement, ...]
    head_pool: Name
    head_node: str | None


class Misfit(StrEnum):
    """Why a pool cannot take a group."""

    SYSTEM = "SYSTEM"
    ACCELERATOR = "ACCELERATOR"
    SPOT = "SPOT"
    NODE_TOO_SMALL = "NODE_TOO_SMALL"
    NO_NODES = "NO_NODES"
    TOO_FEW_NODES = "TOO_FEW_NODES"
    BUSY = "BUSY"
    DOMAIN = "DOMAIN"
    CORDONED = "CORDONED"
    QUARANTINED = "QUARANTINED"
    UNHEALTHY = "UNHEALTHY"
    DRIFTED = "DRIFTED"
    TAINTED = "TAINTED"


class WhyNot(Model):
    """A pool, and why not there."""

    pool: Name
    code: Misfit
    message: str


class Nearest(Model):
    """The nearest to what was asked for that would fit now."""

    pool: Name
    workers: int
    gpus: float = Field(description="of each worker")
    topology: Topology
    message: str


class Refusal(Model):
    """Nothing was placed. `ever`: whether it would fit once nodes are free and well, so that waiting may help."""

    message: str
    group: str | None = Field(description="the group that fits nowhere; None: it is the head, or all of them together")
    pools: tuple[WhyNot, ...] = ()
    nearest: Nearest | None = None
    ever: bool = False
