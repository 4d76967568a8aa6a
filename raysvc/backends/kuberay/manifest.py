"""An attempt as Kubernetes objects, rendered purely: what `apply` sends, byte for byte, but for secret values.

In the order of sending: the NetworkPolicy of its pods, the Secret with its variables, the RayJob; and once its cluster
stands, the calls to Ray that hand the job over.
"""

import json
import math
import re
from typing import Any

from raysvc.backends.kuberay.config import KubeConfig, ray_version
from raysvc.backends.kuberay.label import ATTEMPT, INSTANCE, JOB, JOB_ID, labels_of
from raysvc.backends.rayjob.body import SECRET, Place, current_ref, render
from raysvc.domain.job import ImageCode, Job, JobRef
from raysvc.domain.rendered import Rendered
from raysvc.domain.resources import Resources, WorkerGroup
from raysvc.errors import Invalid

CHECKPOINT, OUTPUT = "/raysvc/checkpoint", "/raysvc/output"
DASHBOARD_PORT = 8265
GPU = "nvidia.com/gpu"
# The cloud's own address for a machine's credentials; no job has business there.
_METADATA = "169.254.169.254/32"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Where nothing is asked for: a worker's Ray takes half a GiB, each process that imports Ray and a model one or two.
_LEAST_CPUS = 1.0
_MEMORY_PER_CPU = 2 << 30
_DRIVER_MEMORY = 1 << 30
# What the operator adds to a RayJob's name for its cluster's, and to that for a worker's, must stay a DNS label.
_MOST_GROUP_NAME = 20
_GROUP_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_MIB = 1 << 20
Json = dict[str, Any]


def rendered(job: Job, config: KubeConfig, instance: str) -> Rendered:
    """Return everything that an attempt's applies send, in order. Raises Invalid."""
    if job.spec.driver != "ray":
        raise Invalid("Warm drivers belong to one machine; on Kubernetes each job has its own cluster.", field="driver")
    ref = current_ref(job)
    *uploads, post = render(job, Place(CHECKPOINT, OUTPUT, instance, images=True)).documents
    apart, body = _apart(post["body"])
    labels = labels_of(job, ref, instance)
    secret = [_secret(ref, labels, apart)] if apart else []
    hand_over = {"method": "PATCH", "path": ref.name, "body": hand_over_of(ref)}
    documents = (
        _network_policy(ref, labels),
        *secret,
        _ray_job(job, config, labels, secrets=bool(apart)),
        *uploads,
        {**post, "body": body},
        hand_over,
    )
    return Rendered(format="kubernetes", documents=documents)


def hand_over_of(ref: JobRef) -> list[Json]:
    """Return the JSON Patch that tells the operator which job of Ray's this RayJob is."""
    return [{"op": "add", "path": "/spec/jobId", "value": ref.name}]


def _apart(body: Json) -> tuple[dict[str, str], Json]:
    """Take the variables that hold a secret out of a job's body: they come by a Secret, and Ray never keeps them."""
    variables: dict[str, str] = body["runtime_env"]["env_vars"]
    apart = {name: text for name, text in variables.items() if SECRET.search(text)}
    for name in apart:
        if not _VARIABLE.fullmatch(name):
            raise Invalid(f"{name!r} cannot be the name of an environment variable.", field="runtime_env.env_vars")
    rest = {name: text for name, text in variables.items() if name not in apart}
    return apart, {**body, "runtime_env": {**body["runtime_env"], "env_vars": rest}}


def _secret(ref: JobRef, labels: dict[str, str], variables: dict[str, str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": ref.name, "labels": labels},
        "type": "Opaque",
        "stringData": variables,
    }


def _network_policy(ref: JobRef, labels: dict[str, str]) -> Json:
    """Its pods speak with one another; from elsewhere only the dashboard is reached, which asks for the token."""
    mine = {"matchLabels": {name: labels[name] for name in (INSTANCE, JOB, ATTEMPT)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": ref.name, "labels": labels},
        "spec": {
            "podSelector": mine,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"podSelector": mine}]},
                {"ports": [{"port": DASHBOARD_PORT, "protocol": "TCP"}]},
            ],
            "egress": [
                {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [_METADATA]}}, {"ipBlock": {"cidr": "::/0"}}]},
                {"to": [{"podSelector": {}, "namespaceSelector": {}}]},
            ],
        },
    }


def _ray_job(job: Job, config: KubeConfig, labels: dict[str, str], *, secrets: bool) -> Json:
    ref = current_ref(job)
    spec: Json = {
        # The operator makes the cluster and waits for spec.jobId: packages can be there before the job that needs them,
        # and nobody but us submits.
        "submissionMode": "InteractiveMode",
        "preRunningDeadlineSeconds": config.start_timeout_s,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": config.linger_s,
        "rayClusterSpec": _cluster(job, config, labels, ref.name if secrets else None),
    }
    if job.spec.timeout_s is not None:
        # A net below our own timeout, for when we are down; it counts from before the cluster was made.
        spec["activeDeadlineSeconds"] = math.ceil(job.spec.timeout_s) + config.start_timeout_s
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": ref.name, "labels": labels, "annotations": {JOB_ID: job.id}},
        "spec": spec,
    }


def _cluster(job: Job, config: KubeConfig, labels: dict[str, str], secret: str | None) -> Json:
    code = job.spec.code
    pods = _Pods(config, code.image if isinstance(code, ImageCode) else config.ray_image, labels, secret)
    groups = job.spec.shape.workers
    elastic = any(group.scale.min != group.scale.max for group in groups)
    cluster: Json = {
        "rayVersion": ray_version(pods.image),
        "authOptions": {"mode": "token"},
        "headGroupSpec": pods.head(job.spec.resources, alone=not groups, elastic=elastic),
        "workerGroupSpecs": [pods.workers(group, elastic=elastic) for group in groups],
    }
    if len({group.name for group in groups}) < len(groups):
        raise Invalid("Two worker groups have the same name.", field="shape.workers")
    if elastic:
        cluster["enableInTreeAutoscaling"] = True
        cluster["autoscalerOptions"] = {"version": "v2", "securityContext": _CONFINED}
    return cluster


# The `restricted` level of Kubernetes' pod security standards, pod and container.
_SAFE = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_CONFINED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


class _Pods:
    """The pod templates of one cluster."""

    def __init__(self, config: KubeConfig, image: str, labels: dict[str, str], secret: str | None) -> None:
        self.image = image
        self._config = config
        self._labels = labels
        self._secret = secret

    def head(self, driver: Resources, *, alone: bool, elastic: bool) -> Json:
        """Return the head's group. Its Ray offers what the driver asks for; alone, at least one CPU for its tasks."""
        own = self._config.head
        cpus = math.ceil(driver.cpus)
        offered = driver.model_copy(update={"cpus": max(cpus, 1) if alone else cpus})
        pod = Resources(
            cpus=max(own.cpus, driver.cpus), gpus=driver.gpus, memory=own.memory + (driver.memory or _DRIVER_MEMORY)
        )
        return {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 in the pod; the policy guards it
            "resources": _offered(offered, pod),
            "template": self._template("ray-head", pod, elastic=elastic, token=elastic),
        }

    def workers(self, group: WorkerGroup, *, elastic: bool) -> Json:
        if len(group.name) > _MOST_GROUP_NAME or not _GROUP_NAME.fullmatch(group.name) or group.name == "head":
            raise Invalid(
                f"Worker group {group.name!r} needs a name of at most {_MOST_GROUP_NAME} lower-case letters, digits "
                'and dashes, and not "head".',
                field="shape.workers.name",
            )
        asked, scale = group.resources, group.scale
        cpus = max(_LEAST_CPUS, asked.cpus)
        pod = Resources(cpus=cpus, gpus=asked.gpus, memory=asked.memory or int(_MEMORY_PER_CPU * cpus))
        return {
            "groupName": group.name,
            "replicas": scale.want,
            "minReplicas": scale.min if elastic else scale.want,
            "maxReplicas": scale.max if elastic else scale.want,
            "rayStartParams": {},
            "resources": _offered(asked, pod),
            "template": self._template("ray-worker", pod, elastic=elastic, token=False),
        }

    def _template(self, name: str, pod: Resources, *, elastic: bool, token: bool) -> Json:
        container: Json = {
            "name": name,
            "image": self.image,
            "env": [
                {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
                {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": str(self._config.stop_grace_s)},
            ],
            "resources": {"requests": _amounts(pod), "limits": _amounts(pod)},
            "securityContext": _CONFINED,
            "volumeMounts": [
                {"name": "checkpoint", "mountPath": CHECKPOINT},
                {"name": "output", "mountPath": OUTPUT},
            ],
        }
        if self._secret is not None:
            container["envFrom"] = [{"secretRef": {"name": self._secret}}]
        spec: Json = {
            "containers": [container],
            "securityContext": _SAFE,
            # Only the autoscaler speaks to the API server; a job has no right there.
            "automountServiceAccountToken": token,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": self._config.pod_grace_s,
            "volumes": [{"name": "checkpoint", "emptyDir": {}}, {"name": "output", "emptyDir": {}}],
        }
        if pod.gpus:
            spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
        if elastic:
            spec["restartPolicy"] = "Never"  # the autoscaler's second version replaces pods, and restarts none
        return {"metadata": {"labels": self._labels}, "spec": spec}


def _offered(asked: Resources, pod: Resources) -> dict[str, str]:
    """Return what Ray says it has there: whole CPUs and GPUs, the pod's memory, and the custom ones."""
    return {
        "CPU": str(math.ceil(asked.cpus)),
        "GPU": str(math.ceil(asked.gpus)),
        # Ray keeps for itself and its object store what is not offered.
        "memory": str(asked.memory or int(pod.memory * 0.7)),
        **{name: json.dumps(amount) for name, amount in sorted(asked.custom.items())},
    }


def _amounts(pod: Resources) -> dict[str, str]:
    amounts = {"cpu": f"{math.ceil(pod.cpus * 1000)}m", "memory": f"{math.ceil(pod.memory / _MIB)}Mi"}
    return amounts | ({GPU: str(math.ceil(pod.gpus))} if pod.gpus else {})
