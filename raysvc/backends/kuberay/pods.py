"""The pods of one attempt's cluster, rendered purely: what is in them, and on which nodes they may be."""

import json
import math
from typing import Any

from raysvc.backends.kuberay.config import KubeConfig
from raysvc.backends.kuberay.site import Site, grows, most
from raysvc.backends.rayjob.body import current_ref
from raysvc.domain.job import Job
from raysvc.domain.placement import DRIVER
from raysvc.domain.resources import MEMORY_OFFERED, Resources, WorkerGroup

CHECKPOINT, OUTPUT = "/raysvc/checkpoint", "/raysvc/output"
DRIVER_MARK = "raysvc-driver"
"""What only the pod of a driver that asks for GPUs offers."""
# The `restricted` level of Kubernetes' pod security standards, pod and container.
SAFE = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
# To those who empty nodes to save money: a pod that is moved is a job that begins anew.
_STAY = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
Json = dict[str, Any]


def domain_of(job: Job, group: WorkerGroup) -> str | None:
    """Return the name of the ComputeDomain that a group's pods claim; None where it needs none."""
    placement = job.placement
    seat = next((it for it in placement.groups if it.group == group.name), None) if placement else None
    if placement is None or seat is None or group.topology != "nvlink-domain":
        return None
    shared = placement.pools[seat.pool].compute_domain and (len(seat.nodes) > 1 or grows(group, seat))
    return f"{current_ref(job).name}-{group.name}" if shared else None


class Pods:
    """The groups of a job's current attempt. `secret`: the Secret whose variables they get."""

    def __init__(self, job: Job, image: str, config: KubeConfig, labels: dict[str, str], secret: str | None) -> None:
        self._job = job
        self._image = image
        self._config = config
        self._labels = labels
        self._secret = secret
        self.elastic = any(group.elastic for group in job.spec.shape.workers)
        """Whether Ray's autoscaler runs beside the head."""

    def head(self) -> Json:
        """Return the head's group. Its Ray offers what the driver asks for; alone, at least one CPU for its tasks."""
        spec, placement = self._job.spec, self._job.placement
        driver = Resources() if spec.resources.gpus else spec.resources
        cpus = math.ceil(driver.cpus)
        offered = driver.model_copy(update={"cpus": cpus if spec.groups() else max(cpus, 1)})
        pod = spec.head(self._config.head)
        site = Site(pod, placement.pools[placement.head_pool] if placement else None)
        return {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 in the pod; the policy guards it
            "resources": _offered(offered, pod),
            "template": self._template("ray-head", site, token=self.elastic),
        }

    def workers(self, group: WorkerGroup) -> Json:
        pod, scale, placement = group.pod, group.scale, self._job.placement
        seat = next((it for it in placement.groups if it.group == group.name), None) if placement else None
        pool = placement.pools[seat.pool] if placement and seat else None
        site = Site(pod, pool, group, seat, claim=domain_of(self._job, group))
        # All of its CPUs: a task asks for one unless told otherwise, and would never run where none are offered.
        offered = group.offered
        if group.name == DRIVER and self._job.spec.resources.gpus:
            offered = offered.model_copy(update={"custom": {**offered.custom, DRIVER_MARK: 1.0}})
        return {
            "groupName": group.name,
            "replicas": scale.want,
            "minReplicas": scale.min if group.elastic else scale.want,
            "maxReplicas": most(group, seat),
            "rayStartParams": {},
            "resources": _offered(offered, pod),
            "template": self._template("ray-worker", site, token=False),
        }

    def _template(self, name: str, site: Site, *, token: bool) -> Json:
        container: Json = {
            "name": name,
            "image": self._image,
            "env": [
                {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
                {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(self._config.stop_grace_s)},
            ],
            "resources": site.resources,
            "securityContext": {**CONFINED, "capabilities": {**_CAPABILITIES, **site.capabilities}},
            "volumeMounts": [
                {"name": "checkpoint", "mountPath": CHECKPOINT},
                {"name": "output", "mountPath": OUTPUT},
                *site.mounts,
            ],
        }
        if self._secret is not None:
            container["envFrom"] = [{"secretRef": {"name": self._secret}}]
        spec: Json = {
            "containers": [container],
            "securityContext": SAFE,
            # Only the autoscaler speaks to the API server; a job has no right there.
            "automountServiceAccountToken": token,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": self._config.pod_grace_s,
            "volumes": [{"name": "checkpoint", "emptyDir": {}}, {"name": "output", "emptyDir": {}}, *site.volumes],
            **site.constraints(self._labels),
        }
        if self.elastic:
            spec["restartPolicy"] = "Never"  # the autoscaler's second version replaces pods, and restarts none
        return {"metadata": {"labels": self._labels, "annotations": _STAY}, "spec": spec}


_CAPABILITIES = {"drop": ["ALL"]}


def _offered(asked: Resources, pod: Resources) -> dict[str, str]:
    """Return what Ray says it has there: whole CPUs and GPUs, the pod's memory, and the custom ones."""
    return {
        "CPU": str(math.ceil(asked.cpus)),
        "GPU": str(math.ceil(asked.gpus)),
        # Ray keeps for itself and its object store what is not offered.
        "memory": str(asked.memory or int(pod.memory * MEMORY_OFFERED)),
        **{name: json.dumps(amount) for name, amount in sorted(asked.custom.items())},
    }
