"""What a pod asks of its node, and which nodes it may be on: by the pool and the nodes that were chosen. Pure.

Without a chosen pool a pod goes wherever Kubernetes finds room, and tolerates the usual taint of GPU nodes.
"""

import math
from typing import Any

from raysvc.domain.node import Amounts
from raysvc.domain.placement import GroupPlacement
from raysvc.domain.pool import PoolSpec
from raysvc.domain.resources import Resources, WorkerGroup

GPU = "nvidia.com/gpu"
_GROUP = "ray.io/group"
_HOSTNAME = "kubernetes.io/hostname"
_MIB = 1 << 20
_CLAIM = "nvlink"
Json = dict[str, Any]


class Site:
    """Of the head, or of a group's workers: `seat` is where they were placed, `claim` their NVLink claim's template."""

    def __init__(
        self,
        pod: Resources,
        pool: PoolSpec | None,
        group: WorkerGroup | None = None,
        seat: GroupPlacement | None = None,
        *,
        claim: str | None = None,
    ) -> None:
        self._pool = pool
        self._group = group
        self._seat = seat
        self._claim = claim
        self._amounts = pool.needs(pod) if pool else _plain(pod)
        self._pages = [name.removeprefix("hugepages-") for name in self._amounts if name.startswith("hugepages-")]

    @property
    def resources(self) -> Json:
        """Requests and limits alike: what is asked for is had, and no more."""
        amounts = {name: _quantity(name, amount) for name, amount in self._amounts.items()}
        claims = {"claims": [{"name": _CLAIM}]} if self._claim else {}
        return {"requests": amounts, "limits": amounts, **claims}

    @property
    def capabilities(self) -> Json:
        """RDMA pins memory."""
        rdma = self._pool.rdma if self._pool else None
        return {"add": ["IPC_LOCK"]} if rdma and rdma.resource in self._amounts else {}

    @property
    def mounts(self) -> list[Json]:
        pages = [{"name": _volume(size), "mountPath": f"/dev/hugepages-{size}"} for size in self._pages]
        return [{"name": "shm", "mountPath": "/dev/shm"}, *pages]  # noqa: S108 the pod's own

    @property
    def volumes(self) -> list[Json]:
        """Shared memory for Ray's object store and for NCCL, within the pod's memory; and huge pages."""
        shm = {"medium": "Memory", "sizeLimit": _quantity("memory", self._amounts["memory"])}
        pages = [{"name": _volume(size), "emptyDir": {"medium": f"HugePages-{size}"}} for size in self._pages]
        return [{"name": "shm", "emptyDir": shm}, *pages]

    def constraints(self, labels: dict[str, str]) -> Json:
        """Return the fields of a pod's spec that say where it may be. `labels`: of all pods of the attempt."""
        pool = self._pool
        if pool is None:
            return {"tolerations": [_tolerated(GPU)]} if GPU in self._amounts else {}
        found: Json = {"nodeSelector": dict(pool.selector)}
        if terms := self._terms(pool):
            found["affinity"] = {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
            }
        if spread := self._spread(labels):
            found["topologySpreadConstraints"] = [spread]
        taints = [{"key": it.key, "operator": "Equal", "value": it.value, "effect": it.effect} for it in pool.taints]
        others = [it.model_dump(exclude_none=True) for it in pool.tolerations]
        if taints or others:
            found["tolerations"] = [*taints, *(_without_value(it) for it in others)]
        if self._claim:
            found["resourceClaims"] = [{"name": _CLAIM, "resourceClaimTemplateName": self._claim}]
        return found

    def _terms(self, pool: PoolSpec) -> list[Json]:
        """Return the nodes that were chosen; of a group that grows, its domain; nothing where nodes are to be made."""
        seat, group = self._seat, self._group
        if seat is None or group is None or seat.new_nodes:
            return []
        if not grows(group, seat):
            return [_node(name) for name in sorted(seat.nodes)]
        if seat.domain is None:
            return []
        key = pool.topology.rack if group.topology == "rack" else pool.topology.nvlink_domain
        if key is None or seat.domain in seat.nodes:
            return [_node(seat.domain)]
        return [{"matchExpressions": [{"key": key, "operator": "In", "values": [seat.domain]}]}]

    def _spread(self, labels: dict[str, str]) -> Json | None:
        """Return what keeps equal shares on the nodes, so that none takes a place that is another job's."""
        seat, group = self._seat, self._group
        if seat is None or group is None or grows(group, seat) or seat.new_nodes or len(seat.nodes) < 2:  # noqa: PLR2004
            return None
        if len({*seat.nodes.values()}) > 1:
            return None
        return {
            "maxSkew": 1,
            "topologyKey": _HOSTNAME,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {**labels, _GROUP: group.name}},
        }


def most(group: WorkerGroup, seat: GroupPlacement | None) -> int:
    """Return to how many workers a group may grow: to no more than there was room for.

    Beyond that its pods would wait, and hold up those that are placed later.
    """
    if not group.elastic:
        return group.scale.want
    return min(group.scale.max, max(seat.most, 1)) if seat else group.scale.max


def grows(group: WorkerGroup, seat: GroupPlacement | None) -> bool:
    """Return whether it may have more workers than it starts with."""
    return most(group, seat) > group.scale.want


def _plain(pod: Resources) -> Amounts:
    amounts = {"cpu": pod.cpus, "memory": float(pod.memory)}
    return amounts | ({GPU: float(math.ceil(pod.gpus))} if pod.gpus else {})


def _quantity(name: str, amount: float) -> str:
    if name == "cpu":
        return f"{math.ceil(amount * 1000)}m"
    if name == "memory" or name.startswith("hugepages-"):
        return f"{math.ceil(amount / _MIB)}Mi"
    return str(math.ceil(amount))


def _node(name: str) -> Json:
    return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}


def _tolerated(key: str) -> Json:
    return {"key": key, "operator": "Exists", "effect": "NoSchedule"}


def _without_value(toleration: Json) -> Json:
    """Return a toleration as Kubernetes takes it: the operator Exists has no value."""
    return {name: value for name, value in toleration.items() if name != "value" or toleration["operator"] == "Equal"}


def _volume(size: str) -> str:
    return f"hugepages-{size.lower()}"
