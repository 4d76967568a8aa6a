"""Node pools as they are declared, nodes in quarantine, and a backend whose nodes can be seen."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from raysvc.domain.node import NodeView, Quarantine
from raysvc.domain.pool import Discovery, Pool
from raysvc.domain.resources import Resources


class Pools(Protocol):
    async def put(self, pools: Sequence[Pool]) -> None:
        """Keep them, each in place of one of its name: all or none."""

    async def list(self) -> Sequence[Pool]:
        """Return all, by name."""

    async def delete(self, name: str) -> None:
        """Raises NotFound."""


class Quarantines(Protocol):
    async def put(self, found: Quarantine) -> None:
        """Keep it, in place of an earlier one of the node."""

    async def list(self) -> Sequence[Quarantine]:
        """Return all, by node."""

    async def delete(self, node: str) -> None:
        """Absent counts as success."""


@runtime_checkable
class Surveyed(Protocol):
    """A backend that runs on nodes which can be seen: Kubernetes."""

    @property
    def head(self) -> Resources:
        """What the head of each job's cluster takes, before any driver."""

    async def nodes(self) -> Sequence[NodeView]:
        """Return all nodes as they were last seen, by name. Raises Unavailable."""

    async def discover(self) -> Discovery:
        """Return the pools that the nodes suggest. Raises Unavailable."""
