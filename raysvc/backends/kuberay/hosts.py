"""Clusters that jobs share, as RayClusters. Implements `SharedClusters`."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from raysvc.backends.kuberay.cache import Cache
from raysvc.backends.kuberay.config import KubeConfig
from raysvc.backends.kuberay.host import Host, foreign_of, host_of, observation
from raysvc.backends.kuberay.host_manifest import changes, marked, rendered
from raysvc.backends.kuberay.kube import KubeApi
from raysvc.backends.kuberay.label import CLUSTER, is_ours, labels_of_cluster, selector
from raysvc.backends.kuberay.objects import Objects
from raysvc.backends.kuberay.status import Trouble, refused_pods, trouble_of
from raysvc.domain.cluster import Foreign, SharedCluster
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.rendered import Rendered
from raysvc.errors import AlreadyExists, Invalid, NotFound, RaysvcError, Unavailable

Json = dict[str, Any]


class Yard:
    """The RayClusters that are shared, by their watch, and the API server for what the watch has not brought."""

    def __init__(self, kube: KubeApi, objects: Objects, clusters: Cache, pods: Cache) -> None:
        self.kube = kube
        self.objects = objects
        self.clusters = clusters
        self._pods = pods
        self.folder = objects.folder("RayCluster")

    async def get(self, name: str) -> Json | None:
        """Return the RayCluster; None where the API server itself says that there is none. Raises Unavailable."""
        if not self.clusters.synced:
            raise Unavailable(f"Kubernetes is not heard: {self.clusters.why}")
        return self.clusters.get(name) or await self.kube.get(f"{self.folder}/{name}")

    async def by_uid(self, uid: str) -> Host | None:
        """Return the cluster that bears this uid. Raises Unavailable."""
        if not self.clusters.synced:
            raise Unavailable(f"Kubernetes is not heard: {self.clusters.why}")
        known = next((host for host in self.hosts() if host.uid == uid), None)
        if known is not None:
            return known
        answer = await self.kube.must_get(self.folder, {"labelSelector": f"{CLUSTER}={uid}"})
        return next((host_of(item) for item in answer.get("items") or ()), None)

    def hosts(self) -> list[Host]:
        return [host_of(item) for item in self.clusters.all()]

    async def trouble(self, host: Host) -> Trouble | None:
        """Return what keeps its pods from running, if anything is known of that."""
        pods = [pod for pod in self._pods.all() if _label(pod, CLUSTER) == host.uid]
        if pods:
            return trouble_of(pods)
        try:
            return refused_pods(await self.objects.warnings(host.cluster))
        except RaysvcError:
            return None  # we may not read events: then it is not told why


class KubeSharedClusters:
    """`yard` raises Unavailable until there is a connection."""

    def __init__(self, config: KubeConfig, instance: str, yard: Callable[[], Yard]) -> None:
        self._config = config
        self._instance = instance
        self._yard = yard

    def render(self, record: SharedCluster) -> Rendered:
        return rendered(record, self._config, self._instance)

    async def apply(self, record: SharedCluster) -> None:
        """Make it; or change what is there. Raises Conflict where somebody else's has its name, NotFound."""
        yard = self._yard()
        found = await yard.kube.get(f"{yard.folder}/{record.object_name}")
        if found is None:
            if record.adopted:
                raise NotFound(f"The RayCluster {record.adopted} is gone: delete the cluster, and create it anew.")
            yard.clusters.put(await self._make(yard, record))
            return
        operations = changes(found, record)
        if not is_ours(_labels(found), self._instance):
            if not record.adopted or CLUSTER in _labels(found):
                raise Invalid(f"A RayCluster {record.object_name} is there that is not ours, and is left alone.")
            operations = [*marked(found, labels_of_cluster(record, self._instance)), *operations]
        elif _label(found, CLUSTER) != record.uid:
            raise Invalid(f"The RayCluster {record.object_name} is another cluster of this server.")
        if operations:
            same = {"op": "test", "path": "/metadata/uid", "value": found["metadata"]["uid"]}
            path = f"{yard.folder}/{record.object_name}"
            yard.clusters.put(await yard.kube.patch(path, [same, *operations]))

    async def observe(self, record: SharedCluster) -> Observation:
        try:
            yard = self._yard()
            found = await yard.get(record.object_name)
            host = host_of(found) if found is not None else None
            if host is None or host.uid not in {record.uid, ""}:
                return Observation(seen=Seen.ABSENT)
            stands = host.stands or host.suspended
            return observation(host, None if stands else await yard.trouble(host))
        except RaysvcError as error:
            return Observation(seen=Seen.UNKNOWN, message=error.message)

    async def delete(self, name: str, uid: str) -> None:
        yard = self._yard()
        for folder in (yard.folder, yard.objects.folder("NetworkPolicy")):
            found = await yard.kube.get(f"{folder}/{name}")
            if found is not None and is_ours(_labels(found), self._instance) and _label(found, CLUSTER) == uid:
                await yard.kube.delete(f"{folder}/{name}")

    async def owned(self) -> AsyncIterator[str]:
        yard, seen = self._yard(), set()
        for kind in ("RayCluster", "NetworkPolicy"):
            query = {"labelSelector": marks(self._instance)}
            for item in (await yard.kube.must_get(yard.objects.folder(kind), query)).get("items") or ():
                if (uid := _label(item, CLUSTER)) and uid not in seen:
                    seen.add(uid)
                    yield uid

    async def foreign(self) -> Sequence[Foreign]:
        yard = self._yard()
        items = (await yard.kube.must_get(yard.folder)).get("items") or ()
        found = (foreign_of(item, self._config.project) for item in items)
        return sorted(filter(None, found), key=lambda it: it.cluster.name)

    async def _make(self, yard: Yard, record: SharedCluster) -> Json:
        policy, ray_cluster = self.render(record).documents
        with contextlib.suppress(AlreadyExists):  # of a server that died here
            await yard.kube.create(yard.objects.folder("NetworkPolicy"), policy)
        try:
            return await yard.kube.create(yard.folder, ray_cluster)
        except AlreadyExists as error:
            raise Unavailable("The RayCluster has come meanwhile; it is looked at again.") from error


def marks(instance: str) -> str:
    """Return what selects the clusters that are shared, and not those that the operator makes for RayJobs of ours."""
    return f"{selector(instance)},{CLUSTER}"


def _labels(found: Json) -> dict[str, str]:
    return (found.get("metadata") or {}).get("labels") or {}


def _label(found: Json, name: str) -> str:
    return _labels(found).get(name, "")
