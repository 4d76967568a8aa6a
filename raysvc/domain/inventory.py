"""Pools and nodes as they are sent and shown: what is declared, what is there of it, and where a job would go."""

from pydantic import Field

from raysvc.domain.job import JobSpec
from raysvc.domain.model import Model, Name
from raysvc.domain.node import Amounts, OsFacts, Quarantine
from raysvc.domain.placement import Placement, Refusal
from raysvc.domain.pool import Pool, PoolSpec


class NewPool(Model):
    """A pool to declare, in place of one of its name."""

    name: Name
    spec: PoolSpec


class NewPools(Model):
    """Pools to declare, all or none: what a file for `raysvc pool apply` holds."""

    pools: tuple[NewPool, ...] = Field(min_length=1, max_length=1000)


class PoolState(Pool):
    """A pool and what is there of it. None: the server has no Kubernetes, or that does not answer now."""

    seen: int | None = Field(description="nodes that are there")
    usable: int | None = Field(description="of these, how many take work")
    notes: tuple[str, ...] = Field(default=(), description="what its operator should know")


class NodeState(Model):
    """A node: its pool, what it has and what is used, and why it gets no work, if so."""

    name: str
    pool: Name | None
    usable: bool
    why: str | None = Field(description="why it gets no work, where it gets none")
    quarantine: Quarantine | None
    drift: tuple[str, ...] = Field(description="how its versions differ from its pool's OS profile")
    allocatable: Amounts
    used: Amounts
    os: OsFacts


class Fit(Model):
    """Where a job would go now, or why nowhere. One of the two is there."""

    placement: Placement | None = None
    refusal: Refusal | None = None


class FitAsk(Model):
    """A job to find a place for."""

    spec: JobSpec


class NewQuarantine(Model):
    """Why a node gets no more work."""

    reason: str = Field(min_length=1, max_length=500)
