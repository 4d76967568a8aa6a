"""An attempt as Kubernetes objects, rendered purely: what `apply` sends, byte for byte, but for secret values.

In the order of sending: the NetworkPolicy of its pods, the Secret with its variables, the RayJob; and once its cluster
stands, the calls to Ray that hand the job over.
"""

import math
import re
from typing import Any

from raysvc.backends.kuberay.config import KubeConfig, ray_version
from raysvc.backends.kuberay.label import ATTEMPT, INSTANCE, JOB, JOB_ID, labels_of
from raysvc.backends.kuberay.pods import CHECKPOINT, CONFINED, DRIVER_MARK, OUTPUT, Pods, domain_of
from raysvc.backends.rayjob.body import SECRET, Place, current_ref, render
from raysvc.domain.job import ImageCode, Job, JobRef
from raysvc.domain.placement import DRIVER
from raysvc.domain.rendered import Rendered
from raysvc.errors import Invalid

DASHBOARD_PORT = 8265
# The cloud's own address for a machine's credentials; no job has business there.
_METADATA = "169.254.169.254/32"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What the operator adds to a RayJob's name for its cluster's, and to that for a worker's, must stay a DNS label.
_MOST_GROUP_NAME = 20
_GROUP_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
Json = dict[str, Any]


def rendered(job: Job, config: KubeConfig, instance: str) -> Rendered:
    """Return everything that an attempt's applies send, in order. Raises Invalid."""
    if job.spec.driver != "ray":
        raise Invalid("Warm drivers belong to one machine; on Kubernetes each job has its own cluster.", field="driver")
    ref = current_ref(job)
    *uploads, post = render(job, Place(CHECKPOINT, OUTPUT, instance, images=True)).documents
    apart, body = _apart(post["body"])
    labels = labels_of(job, ref, instance)
    if job.spec.resources.gpus:
        # So that it goes to the pod that is meant for it, and takes no GPU of another group's.
        body = {**body, "entrypoint_resources": {**body.get("entrypoint_resources", {}), DRIVER_MARK: 1}}
    secret = [_secret(ref, labels, apart)] if apart else []
    hand_over = {"method": "PATCH", "path": ref.name, "body": hand_over_of(ref)}
    documents = (
        network_policy(ref.name, labels, (INSTANCE, JOB, ATTEMPT)),
        *secret,
        *_compute_domains(job, labels),
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


def network_policy(name: str, labels: dict[str, str], mark: tuple[str, ...]) -> Json:
    """Return that of the pods which bear the labels in `mark`, as all do that are made here.

    Its pods speak with one another; from elsewhere only the dashboard is reached, which asks for the token.
    """
    mine = {"matchLabels": {key: labels[key] for key in mark}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": labels},
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
        "rayClusterSpec": cluster_of(job, config, labels, ref.name if secrets else None),
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


def _compute_domains(job: Job, labels: dict[str, str]) -> list[Json]:
    """Return what NVIDIA's DRA driver makes a shared NVLink domain of, for each group that asks for one."""
    names = [name for group in job.spec.groups() if (name := domain_of(job, group))]
    return [
        {
            "apiVersion": "resource.nvidia.com/v1beta1",
            "kind": "ComputeDomain",
            "metadata": {"name": name, "labels": labels},
            # 0: as many nodes as pods claim it.
            "spec": {"numNodes": 0, "channel": {"resourceClaimTemplate": {"name": name}}},
        }
        for name in names
    ]


def cluster_of(job: Job, config: KubeConfig, labels: dict[str, str], secret: str | None) -> Json:
    """Return the spec of the RayCluster that a job's attempt runs on. Raises Invalid."""
    groups = job.spec.groups()
    for group in groups:
        _check_name(group.name)
    if len({group.name for group in groups}) < len(groups):
        more = f" A driver that asks for GPUs is a group of its own, {DRIVER!r}." if job.spec.resources.gpus else ""
        raise Invalid(f"Two worker groups have the same name.{more}", field="shape.workers")
    code = job.spec.code
    image = code.image if isinstance(code, ImageCode) else config.ray_image
    pods = Pods(job, image, config, labels, secret)
    cluster: Json = {
        "rayVersion": ray_version(image),
        "authOptions": {"mode": "token"},
        "headGroupSpec": pods.head(),
        "workerGroupSpecs": [pods.workers(group) for group in groups],
    }
    if pods.elastic:
        cluster["enableInTreeAutoscaling"] = True
        cluster["autoscalerOptions"] = {
            "version": "v2",
            "idleTimeoutSeconds": config.idle_timeout_s,
            "securityContext": CONFINED,
        }
    return cluster


def _check_name(name: str) -> None:
    if len(name) > _MOST_GROUP_NAME or not _GROUP_NAME.fullmatch(name) or name == "head":
        raise Invalid(
            f"Worker group {name!r} needs a name of at most {_MOST_GROUP_NAME} lower-case letters, digits "
            'and dashes, and not "head".',
            field="shape.workers.name",
        )
