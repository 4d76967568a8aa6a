"""Where a job's workers and head go, or why nowhere."""

from enum import StrEnum

from pydantic import Field

from raysvc.domain.model import Model, Name
from raysvc.domain.pool import PoolSpec
from raysvc.domain.resources import Resources, Topology, WorkerGroup

# What a head takes before any driver: Ray's control store and dashboard; each driver beside it; and the sidecar of
# Ray's autoscaler (KubeRay's defaults for that: 500m and 512Mi).
HEAD = Resources(cpus=1, memory=2 << 30)
DRIVER_MEMORY = 1 << 30
AUTOSCALER = Resources(cpus=0.5, memory=512 << 20)
DRIVER = "driver"
"""The group of a driver that asks for GPUs."""


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
    most: int = Field(default=0, ge=0, description="how many workers there was room for: it grows to no more")


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
    LATER = "LATER"


class WhyNot(Model):
    """A pool, and why not there."""

    pool: Name
    code: Misfit
    message: str


class Placement(Model):
    """Where everything goes. `head_node` None: a node that the system pool has yet to make.

    It holds the pools as they were declared then, so that what is rendered does not change with them.
    """

    groups: tuple[GroupPlacement, ...]
    head_pool: Name
    head_node: str | None
    pools: dict[Name, PoolSpec] = Field(default_factory=dict, description="those that are used, by name")
    others: tuple[WhyNot, ...] = Field(default=(), description="the other pools, and why the first group is not there")

    @property
    def summary(self) -> str:
        """Where it is, in a few words."""
        told = [f"{it.group} on pool {it.pool}{_nodes(it)}" for it in self.groups]
        return ", ".join([*told, f"head on pool {self.head_pool}"])


def _nodes(group: GroupPlacement) -> str:
    names = sorted(group.nodes)
    named = [", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")] if names else []
    new = [f"{group.new_nodes} new node{'' if group.new_nodes == 1 else 's'}"] if group.new_nodes else []
    return f" ({', '.join([*named, *new])})" if named or new else ""


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

    @property
    def text(self) -> str:
        """All of it in one line."""
        pools = [f"{why.pool}: {why.message}" for why in self.pools]
        nearest = [f"Nearest: {self.nearest.message}."] if self.nearest else []
        return " ".join([self.message, *(["; ".join(pools) + "."] if pools else []), *nearest])
