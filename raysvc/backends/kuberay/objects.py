"""The Kubernetes objects of attempts: made, joined, found and removed. All carry our labels and the attempt's name."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from raysvc.backends.kuberay.kube import KubeApi
from raysvc.backends.kuberay.label import is_ours, selector
from raysvc.domain.job import JobRef
from raysvc.errors import AlreadyExists, Invalid, NotFound, Unavailable

Json = dict[str, Any]
_FOLDERS = {
    "RayJob": "/apis/ray.io/v1/namespaces/{}/rayjobs",
    "RayCluster": "/apis/ray.io/v1/namespaces/{}/rayclusters",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "ComputeDomain": "/apis/resource.nvidia.com/v1beta1/namespaces/{}/computedomains",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
}
# What is made beside a RayJob, and removed with it.
_COMPANIONS = ("Secret", "NetworkPolicy")


class Objects:
    """Those of one namespace and one instance of ours. Raises as `KubeApi` does."""

    def __init__(self, kube: KubeApi, namespace: str, instance: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._instance = instance

    def folder(self, kind: str) -> str:
        """Return the path of all objects of a kind."""
        return _FOLDERS[kind].format(self._namespace)

    @property
    def mine(self) -> dict[str, str]:
        """The query for all that is ours."""
        return {"labelSelector": selector(self._instance)}

    async def ray_job(self, ref: JobRef) -> Json | None:
        """Return an attempt's RayJob. Raises Invalid where somebody else's has its name."""
        found = await self._kube.get(f"{self.folder('RayJob')}/{ref.name}")
        if found is not None and not is_ours((found.get("metadata") or {}).get("labels") or {}, self._instance):
            raise Invalid(f"A RayJob {ref.name} is there that is not ours, and is left alone.")
        return found

    async def create(self, manifests: Sequence[Json]) -> Json:
        """Make the objects, the RayJob last, and return that. What is there already is brought up to date or kept."""
        first, *companions, ray_job = manifests
        policy = await self._put(first)
        for manifest in companions:
            # Until the RayJob is there to own it: what `delete` does not name goes with the first.
            owned = manifest["kind"] not in _COMPANIONS
            await self._put(_owned(manifest, policy) if owned else manifest)
        try:
            return await self._kube.create(self.folder("RayJob"), ray_job)
        except AlreadyExists as error:
            ref = JobRef.parse(ray_job["metadata"]["name"])
            found = await self.ray_job(ref) if ref else None
            if found is None:
                raise Unavailable("The RayJob was there, and is gone again.") from error
            return found

    async def adopt(self, ray_job: Json, manifests: Sequence[Json]) -> None:
        """Make the RayJob the owner of what was made beside it, so that they go together. May be repeated."""
        owner = _owner({"apiVersion": "ray.io/v1", "kind": "RayJob", **ray_job})
        operation = {"op": "add", "path": "/metadata/ownerReferences", "value": [owner]}
        for manifest in manifests[:-1]:
            try:
                await self._kube.patch(self._path(manifest), [operation])
            except NotFound:
                continue  # removed with a delete that came between

    async def hand_over(self, ray_job: Json, operations: Sequence[Json]) -> Json:
        """Change the spec of that very RayJob, not of one that has taken its name since."""
        metadata = ray_job["metadata"]
        same = {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]}
        return await self._kube.patch(f"{self.folder('RayJob')}/{metadata['name']}", [same, *operations])

    async def suspend(self, ray_job: Json) -> Json:
        """Have the operator take a RayJob's cluster away, and keep the RayJob. May be repeated."""
        return await self.hand_over(ray_job, [{"op": "add", "path": "/spec/suspend", "value": True}])

    async def delete(self, ref: JobRef) -> None:
        """Remove the RayJob, and its cluster after it: first the operator, which needs its Secret, stops the job.

        So deletion is in the background: in the foreground the cluster's token would go before the operator has asked.
        """
        await self._kube.delete(f"{self.folder('RayJob')}/{ref.name}")
        for kind in _COMPANIONS:
            await self._kube.delete(f"{self.folder(kind)}/{ref.name}")

    async def delete_cluster(self, name: str) -> None:
        await self._kube.delete(f"{self.folder('RayCluster')}/{name}")

    async def has_cluster(self, name: str) -> bool:
        return bool(name) and await self._kube.get(f"{self.folder('RayCluster')}/{name}") is not None

    async def warnings(self, name: str) -> list[Json]:
        """Return the warnings about an object, such as why a RayCluster gets no pods."""
        query = {"fieldSelector": f"involvedObject.name={name},type=Warning", "limit": "50"}
        return list((await self._kube.must_get(self.folder("Event"), query)).get("items") or ())

    async def owned(self) -> AsyncGenerator[JobRef, None]:
        """Yield each attempt that has an object here, whatever is left of it."""
        found: dict[str, None] = {}
        for kind in ("RayJob", *_COMPANIONS):
            answer = await self._kube.must_get(self.folder(kind), self.mine)
            found |= {str((item.get("metadata") or {}).get("name")): None for item in answer.get("items") or ()}
        for name in found:
            if ref := JobRef.parse(name):
                yield ref

    async def _put(self, manifest: Json) -> Json:
        """Create an object; of one that a server left there that died, its contents may be of another try."""
        try:
            return await self._kube.create(self.folder(manifest["kind"]), manifest)
        except AlreadyExists:
            if manifest["kind"] not in _COMPANIONS:
                return manifest  # of its attempt, and there is only one way to write it
            return await self._kube.put(self._path(manifest), manifest)

    def _path(self, manifest: Json) -> str:
        return f"{self.folder(manifest['kind'])}/{manifest['metadata']['name']}"


def _owner(found: Json) -> Json:
    metadata = found["metadata"]
    return {
        "apiVersion": found["apiVersion"],
        "kind": found["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _owned(manifest: Json, by: Json) -> Json:
    typed = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **by}
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [_owner(typed)]}}
