"""What Kubernetes has, as one cluster named `kube`. Implements `Clusters`."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from raysvc.backends.kuberay.cache import Cache
from raysvc.backends.kuberay.config import CLUSTER, KubeConfig, ray_version
from raysvc.backends.kuberay.kube import KubeApi
from raysvc.backends.kuberay.site import GPU
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.reason import ReasonCode, reason
from raysvc.domain.resources import Resources, Scale
from raysvc.errors import NotFound, RaysvcError

_NODES = "/api/v1/nodes"
_GROUP = "/apis/ray.io/v1"
# Nodes come and go by the minute.
_FRESH_S = 10.0
# Where we may not see the nodes: pods wait in Kubernetes for what is not there, and say so.
_UNKNOWN = Scale(min=0, want=0, max=100_000)
_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_SUFFIXES |= {f"{letter}i": 1 << (10 * power) for power, letter in enumerate("KMGTPE", start=1)}
Json = Mapping[str, Any]


class KubeClusters:
    """Jobs have a Ray cluster each; what they share is Kubernetes, and that is what is counted."""

    def __init__(self, config: KubeConfig) -> None:
        self._config = config
        self._kube: KubeApi | None = None
        self._jobs: Cache | None = None
        self._looked: tuple[float, Cluster] | None = None

    def use(self, kube: KubeApi, jobs: Cache) -> None:
        """Say whom to ask; before that, the cluster is starting."""
        self._kube, self._jobs = kube, jobs

    async def get(self, name: str) -> Cluster:
        """Return what is known within some seconds. Raises NotFound."""
        if name != CLUSTER:
            raise NotFound(f"There is no cluster {name!r} here; there is one, {CLUSTER!r}.")
        if self._kube is None or self._jobs is None:
            return self._cluster(ClusterPhase.STARTING, "Kubernetes has not been asked yet")
        now = asyncio.get_running_loop().time()
        if self._looked and now - self._looked[0] < _FRESH_S and self._jobs.synced:
            return self._looked[1]
        found = await self._look(self._kube, self._jobs)
        self._looked = now, found
        return found

    async def list(self) -> Sequence[Cluster]:
        return [await self.get(CLUSTER)]

    async def _look(self, kube: KubeApi, jobs: Cache) -> Cluster:
        if not jobs.synced:
            phase = ClusterPhase.DEGRADED if self._looked else ClusterPhase.STARTING
            return self._cluster(phase, await self._why(kube, jobs))
        try:
            nodes = [node for node in (await kube.must_get(_NODES)).get("items") or () if _takes_pods(node)]
        except RaysvcError:
            return self._cluster(ClusterPhase.READY, "", autoscaling=_UNKNOWN)
        return self._cluster(ClusterPhase.READY, "", nodes=len(nodes), resources=total(nodes))

    async def _why(self, kube: KubeApi, jobs: Cache) -> str:
        try:
            if await kube.get(_GROUP) is None:
                return (
                    "KubeRay is not installed there: it serves no ray.io/v1. Install its operator, 1.6 or newer "
                    "(helm install kuberay-operator kuberay/kuberay-operator)."
                )
        except RaysvcError as error:
            return error.message
        return jobs.why

    def _cluster(self, phase: ClusterPhase, why: str, **measured: Any) -> Cluster:
        config, had = self._config, measured.get("resources")
        most = 1000 if had is None else max(1, int(min(had.cpus / config.head.cpus, had.memory / config.head.memory)))
        return Cluster(
            name=CLUSTER,
            project=config.project,
            backend="kuberay",
            phase=phase,
            reason=reason(ReasonCode.CLUSTER_NOT_READY, why) if why else None,
            ray_version=ray_version(config.ray_image),
            # Each job brings a head.
            max_running_jobs=config.max_running_jobs or most,
            **measured,
        )


def total(nodes: Iterable[Json]) -> Resources:
    """Return what the nodes can give to pods together. GPUs are NVIDIA's; other vendors' are custom resources."""
    cpus, gpus, memory = Decimal(0), Decimal(0), Decimal(0)
    for node in nodes:
        amounts = (node.get("status") or {}).get("allocatable") or {}
        cpus += quantity(amounts.get("cpu"))
        gpus += quantity(amounts.get(GPU))
        memory += quantity(amounts.get("memory"))
    return Resources(cpus=float(cpus), gpus=float(gpus), memory=int(memory))


def quantity(text: object) -> Decimal:
    """Return a Kubernetes quantity (`1500m`, `16Gi`, `1e3`) as a number; 0 for what is none."""
    said = str(text or "0")
    if said.endswith("m"):
        return _decimal(said[:-1]) / 1000
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if suffix and said.endswith(suffix):
            return _decimal(said.removesuffix(suffix)) * _SUFFIXES[suffix]
    return _decimal(said)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0)


def _takes_pods(node: Json) -> bool:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )
    return ready and not spec.get("unschedulable")
