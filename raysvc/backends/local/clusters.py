"""What the local cluster has and uses. Implements `Clusters`."""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raysvc.backends.local.config import CLUSTER, LocalConfig, available_memory
from raysvc.backends.local.session import Session
from raysvc.backends.local.supervisor import Supervisor
from raysvc.domain.cluster import Cluster
from raysvc.domain.resources import Resources
from raysvc.errors import NotFound, Unavailable

# The dashboard is not asked again within this, whoever asks.
_FRESH_S = 1.0
# As `ray status` prints a resource: "1.5/4.0 CPU" or "0B/21.47GiB memory", with a note on placement groups behind it.
_USED = re.compile(r"(?P<used>[\d.]+)(?P<unit>[KMGT]?i?B)?/\S+ (?P<name>\S+)")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
# Ray's own: an object store's size is not a job's to ask for, and node:… only names a node.
_INTERNAL = ("object_store_memory", "node:")


class LocalClusters:
    """The one cluster there is, by the name `local`."""

    def __init__(self, config: LocalConfig, supervisor: Supervisor) -> None:
        self._config = config
        self._supervisor = supervisor
        self._limit = config.job_limit
        self._looked: tuple[Session, float, dict[str, Any]] | None = None

    async def get(self, name: str) -> Cluster:
        """Return what is known within a second; while Ray does not answer, what was known last. Raises NotFound."""
        if name != CLUSTER:
            raise NotFound(f"There is no cluster {name!r} here; there is one, {CLUSTER!r}.")
        session = self._supervisor.session
        return Cluster(
            name=CLUSTER,
            project=self._config.project,
            backend="local",
            phase=self._supervisor.phase,
            reason=self._supervisor.why,
            max_running_jobs=self._limit,
            **(await self._measured(session) if session else {}),
        )

    async def list(self) -> Sequence[Cluster]:
        return [await self.get(CLUSTER)]

    async def _measured(self, session: Session) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        if self._looked and self._looked[0] is session and now - self._looked[1] < _FRESH_S:
            return self._looked[2]
        try:
            nodes, summary = await asyncio.gather(session.api.nodes(), session.api.summary())
        except Unavailable:
            return self._looked[2] if self._looked and self._looked[0] is session else {}
        fields = {
            "ray_version": session.ray_version,
            "nodes": len(nodes),
            "resources": total(nodes),
            "used": used(summary.get("nodeLogicalResources") or {}),
            "free_memory": available_memory() if session.first else _head_memory(summary, session.head_node),
        }
        self._looked = session, now, fields
        return fields


def total(nodes: Iterable[Mapping[str, Any]]) -> Resources:
    """Return what the nodes (of /api/v0/nodes) have together."""
    amounts = (node.get("resources_total") or {} for node in nodes)
    return _sum((str(name), float(amount)) for had in amounts for name, amount in had.items())


def used(by_node: Mapping[str, str]) -> Resources:
    """Return what is in use: `nodeLogicalResources` of /nodes, a few lines of text per node."""
    return _sum(
        (match["name"], float(match["used"]) * _UNITS.get(match["unit"] or "B", 1))
        for text in by_node.values()
        for match in map(_USED.match, text.splitlines())
        if match
    )


def _sum(amounts: Iterable[tuple[str, float]]) -> Resources:
    totals: dict[str, float] = {}
    for name, amount in amounts:
        totals[name] = totals.get(name, 0.0) + amount
    return Resources(
        cpus=totals.pop("CPU", 0.0),
        gpus=totals.pop("GPU", 0.0),
        memory=int(totals.pop("memory", 0.0)),
        custom={name: amount for name, amount in totals.items() if not name.startswith(_INTERNAL)},
    )


def _head_memory(summary: Mapping[str, Any], head_node: str) -> int | None:
    """Return the bytes free on the head node as its agent measured them; None where it has not yet."""
    for node in summary.get("summary", []):
        if node.get("raylet", {}).get("nodeId") == head_node and len(node.get("mem", [])) > 1:
            return int(node["mem"][1])
    return None
