"""A shared cluster as Kubernetes objects, and what becomes of them when it is scaled, suspended or woken. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysvc.backends.kuberay.config import KubeConfig
from raysvc.backends.kuberay.label import CLUSTER, INSTANCE, labels_of_cluster
from raysvc.backends.kuberay.manifest import cluster_of, network_policy
from raysvc.domain.cluster import SharedCluster
from raysvc.domain.job import ImageCode, Job, JobSpec, submit
from raysvc.domain.placement import DRIVER_MEMORY
from raysvc.domain.rendered import Rendered
from raysvc.domain.resources import Resources

Json = dict[str, Any]


def rendered(cluster: SharedCluster, config: KubeConfig, instance: str) -> Rendered:
    """Return all that makes it, in order: the NetworkPolicy of its pods, then the RayCluster. Raises Invalid."""
    labels = labels_of_cluster(cluster, instance)
    name = cluster.object_name
    own = replace(config, idle_timeout_s=int(cluster.spec.idle_ttl_s))
    ray_cluster = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, "labels": labels, "annotations": {NAME: cluster.id}},
        "spec": {**cluster_of(_pattern(cluster), own, labels, None), "suspend": not cluster.awake},
    }
    return Rendered(format="kubernetes", documents=(network_policy(name, labels, (INSTANCE, CLUSTER)), ray_cluster))


NAME = "raysvc.dev/cluster-name"


def _pattern(cluster: SharedCluster) -> Job:
    """Return a job whose own cluster would be like this one: the memory of its driver is that of all drivers here."""
    spec, image = cluster.spec, cluster.spec.image
    drivers = Resources(memory=spec.max_running_jobs * DRIVER_MEMORY)
    code = ImageCode(image=image) if image else None
    asked = JobSpec(entrypoint="none", shape=spec.shape, resources=drivers, code=code)
    about = {"job_id": cluster.id, "uid": cluster.uid, "project": cluster.project, "owner": cluster.owner}
    return submit(asked, now=cluster.created_at, **about)[0]


def changes(found: Mapping[str, Any], cluster: SharedCluster) -> list[Json]:
    """Return the JSON Patch that brings a RayCluster to what the record says: empty where it is so.

    Only `suspend` and the bounds of groups: how many replicas there are is Ray's autoscaler's, where it has one. Each
    group is named in a test, since the list is atomic and somebody may have changed it.
    """
    spec = found.get("spec") or {}
    operations: list[Json] = []
    if bool(spec.get("suspend")) is cluster.awake:
        operations.append({"op": "add", "path": "/spec/suspend", "value": not cluster.awake})
    groups = {group.name: group for group in cluster.spec.shape.workers}
    for place, there in enumerate(spec.get("workerGroupSpecs") or ()):
        group = groups.get(str(there.get("groupName")))
        if group is None:
            continue
        path = f"/spec/workerGroupSpecs/{place}"
        least, most = (group.scale.min, group.scale.max) if group.elastic else (group.scale.want, group.scale.want)
        wanted = {"minReplicas": least, "maxReplicas": most}
        if not spec.get("enableInTreeAutoscaling"):
            wanted["replicas"] = group.scale.want
        differing = {name: value for name, value in wanted.items() if there.get(name) != value}
        if differing:
            operations.append({"op": "test", "path": f"{path}/groupName", "value": group.name})
            operations += [{"op": "add", "path": f"{path}/{name}", "value": value} for name, value in differing.items()]
    return operations


def marked(found: Mapping[str, Any], labels: Mapping[str, str]) -> Sequence[Json]:
    """Return the JSON Patch that puts our labels on an object that others made."""
    there = (found.get("metadata") or {}).get("labels") or {}
    if not there:
        return [{"op": "add", "path": "/metadata/labels", "value": dict(labels)}]
    return [
        {"op": "add", "path": "/metadata/labels/" + name.replace("~", "~0").replace("/", "~1"), "value": value}
        for name, value in labels.items()
        if there.get(name) != value
    ]
