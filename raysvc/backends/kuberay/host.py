"""What KubeRay says of a RayCluster, in our words. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysvc.backends.kuberay.clusters import quantity
from raysvc.backends.kuberay.config import ray_version
from raysvc.backends.kuberay.label import CLUSTER, INSTANCE
from raysvc.backends.kuberay.manifest import DASHBOARD_PORT
from raysvc.backends.kuberay.site import GPU
from raysvc.backends.kuberay.status import Trouble
from raysvc.domain.cluster import Cluster, ClusterPhase, ClusterSpec, Foreign
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode, reason
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup

Json = Mapping[str, Any]
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MOST = 100_000


@dataclass(frozen=True)
class Host:
    """A RayCluster, as far as we go by it."""

    uid: str
    cluster: str
    namespace: str
    service: str
    guarded: bool
    wanted: bool
    suspended: bool
    head: bool
    deleting: bool
    why: str
    made: str

    @property
    def name(self) -> str:
        return f"cluster-{self.uid}"

    @property
    def dashboard(self) -> str:
        """Where its Ray answers inside Kubernetes: host and port; nothing while its head does not stand."""
        return f"{self.service}.{self.namespace}.svc:{DASHBOARD_PORT}" if self.stands else ""

    @property
    def stands(self) -> bool:
        return self.wanted and self.head and bool(self.service) and not self.deleting


def host_of(ray_cluster: Json) -> Host:
    metadata, spec, status = (ray_cluster.get(key) or {} for key in ("metadata", "spec", "status"))
    conditions = {str(it.get("type")): it for it in status.get("conditions") or ()}
    head = conditions.get("HeadPodReady") or {}
    return Host(
        uid=str((metadata.get("labels") or {}).get(CLUSTER) or ""),
        cluster=str(metadata.get("name")),
        namespace=str(metadata.get("namespace")),
        service=str((status.get("head") or {}).get("serviceName") or ""),
        guarded=(spec.get("authOptions") or {}).get("mode") == "token",
        wanted=not spec.get("suspend"),
        # `status.state` says ready for ever, once it was; the conditions say what is.
        suspended=(conditions.get("RayClusterSuspended") or {}).get("status") == "True",
        head=head.get("status") == "True",
        deleting=bool(metadata.get("deletionTimestamp")),
        why=str(head.get("message") or status.get("reason") or ""),
        made=str(metadata.get("uid")),
    )


def observation(host: Host | None, trouble: Trouble | None) -> Observation:
    """Return what is there, and what hinders its pods."""
    if host is None:
        return Observation(seen=Seen.ABSENT)
    if host.suspended and not host.wanted and not host.deleting:
        return Observation(seen=Seen.STOPPED)
    if host.stands:
        return Observation(seen=Seen.RUNNING)
    code, message = trouble or (ReasonCode.PROVISIONING, host.why)
    return Observation(seen=Seen.PENDING, cause=code, message=message)


def foreign_of(ray_cluster: Json, project: str) -> Foreign | None:
    """Return a cluster that others made; None for one of a RayJob or RayService, of a raysvc, or past our bounds."""
    metadata, spec = ray_cluster.get("metadata") or {}, ray_cluster.get("spec") or {}
    host = host_of(ray_cluster)
    if (
        metadata.get("ownerReferences")
        or INSTANCE in (metadata.get("labels") or {})
        or not _NAME.fullmatch(host.cluster)
    ):
        return None
    try:
        found = ClusterSpec(shape=Shape(workers=tuple(map(_group, spec.get("workerGroupSpecs") or ()))))
    except (ValueError, OverflowError):
        return None  # it says what none of ours may, such as fewer workers than none
    phase = ClusterPhase.READY if host.stands else ClusterPhase.STARTING
    if not host.wanted:
        phase = ClusterPhase.SUSPENDED
    cluster = Cluster(
        name=host.cluster,
        project=project,
        backend="kuberay",
        phase=phase,
        reason=reason(ReasonCode.CLUSTER_NOT_READY, host.why) if phase is ClusterPhase.STARTING else None,
        owner="foreign",
        ray_version=str(spec.get("rayVersion") or "") or ray_version(""),
        resources=found.capacity(),
        autoscaling=found.workers if found.elastic else None,
        max_running_jobs=0,
    )
    return Foreign(cluster=cluster, spec=found)


def _group(spec: Json) -> WorkerGroup:
    containers: Sequence[Json] = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ({},)
    asked = containers[0].get("resources") or {}
    amounts = {**(asked.get("requests") or {}), **(asked.get("limits") or {})}
    least = min(int(spec.get("minReplicas") or 0), _MOST)
    most = max(least, min(int(spec.get("maxReplicas") or spec.get("replicas") or 0), _MOST))
    want = min(max(int(spec.get("replicas") or 0), least), most)
    return WorkerGroup(
        name=str(spec.get("groupName")),
        scale=Scale(min=least, want=want, max=most),
        resources=Resources(
            cpus=float(quantity(amounts.get("cpu"))),
            gpus=float(quantity(amounts.get(GPU))),
            memory=int(quantity(amounts.get("memory"))),
        ),
    )
