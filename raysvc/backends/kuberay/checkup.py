"""What `raysvc doctor --kube` looks at. Each check looks, changes nothing, and says what to do about what it finds."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raysvc.backends.kuberay.clusters import quantity, total
from raysvc.backends.kuberay.config import KubeConfig
from raysvc.backends.kuberay.connect import Connection, connect
from raysvc.backends.kuberay.manifest import rendered
from raysvc.backends.kuberay.objects import Objects
from raysvc.backends.kuberay.right import RIGHTS, missing
from raysvc.backends.kuberay.site import GPU
from raysvc.domain.job import Job, JobSpec, submit
from raysvc.errors import AlreadyExists, Invalid, RaysvcError
from raysvc.ports import Clock

_OPERATOR = {"labelSelector": "app.kubernetes.io/component=kuberay-operator", "limit": "5"}
_OLDEST = (1, 30)
_INSTALL = "helm install kuberay-operator kuberay/kuberay-operator --version 1.6.2"
_GIB = 1 << 30
_PRODUCT = "nvidia.com/gpu.product"


@dataclass(frozen=True)
class Check:
    """One line. `fix` is what to do; empty where nothing is wrong."""

    subject: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""


async def checkup(config: KubeConfig, clock: Clock) -> AsyncGenerator[Check, None]:
    """Yield the findings, one after the other; those that need what is missing are left out."""
    try:
        connection = await connect(config.context, config.namespace)
    except Invalid as error:
        yield Check("Kubeconfig", "fail", error.message, "Name one with --context, or set KUBECONFIG.")
        return
    yield Check("Kubeconfig", "ok", f"{connection.context}, namespace {connection.namespace}, {connection.kube.url}")
    try:
        async with aclosing(_look(connection, config, clock)) as checks:
            async for check in checks:
                yield check
    except RaysvcError as error:
        yield Check("API server", "fail", error.message, "Mend what it names, and look again.")
    finally:
        await connection.kube.close()


async def _look(connection: Connection, config: KubeConfig, clock: Clock) -> AsyncGenerator[Check, None]:
    version = await connection.kube.must_get("/version")
    yield _version(version)
    if await connection.kube.get("/apis/ray.io/v1") is None:
        yield Check("KubeRay", "fail", "not installed: the API server serves no ray.io/v1", _INSTALL)
        return
    async for check in _rights(connection):
        yield check
    yield await _trial(connection, config, clock)
    yield await _operator(connection)
    yield await _nodes(connection)


def _version(found: dict[str, Any]) -> Check:
    said = str(found.get("gitVersion"))
    numbers = [int(digits) for part in said.lstrip("v").split(".")[:2] if (digits := part.split("-")[0]).isdigit()]
    if tuple(numbers) < _OLDEST:
        return Check("API server", "warn", f"Kubernetes {said}", "raysvc is tried with 1.36; 1.30 and newer should do.")
    return Check("API server", "ok", f"Kubernetes {said}")


async def _rights(connection: Connection) -> AsyncIterator[Check]:
    for right in RIGHTS:
        if right.outside and connection.inside:
            continue
        where = "all namespaces" if right.cluster_wide else connection.namespace
        lacks = await missing(connection, right)
        if lacks is None:
            yield Check("Right", "ok", f"{right.resource} ({where}): {', '.join(right.verbs)}")
            continue
        fix = f"Give raysvc's user a {'ClusterRole' if right.cluster_wide else f'Role in {where}'} with {lacks.rule}."
        detail = f"may not {', '.join(lacks.verbs)} {right.resource} ({where})"
        yield Check("Right", "warn" if right.wanted else "fail", detail, fix)


async def _trial(connection: Connection, config: KubeConfig, clock: Clock) -> Check:
    """Have a RayJob checked as if it were made: by the CRD's own schema, admission webhooks and quotas."""
    objects = Objects(connection.kube, connection.namespace, "doctor")
    manifests = [found for found in rendered(_sample(clock), config, "doctor").documents if "kind" in found]
    try:
        for document in manifests:
            await connection.kube.create(objects.folder(document["kind"]), document, dry_run=True)
    except AlreadyExists:
        pass
    except RaysvcError as error:
        return Check("KubeRay", "fail", f"a RayJob would be refused: {error.message}", f"Mend that, or: {_INSTALL}")
    return Check("KubeRay", "ok", "ray.io/v1 takes the RayJobs that raysvc makes (1.6 or newer)")


async def _operator(connection: Connection) -> Check:
    try:
        pods = (await connection.kube.must_get("/api/v1/pods", _OPERATOR)).get("items") or ()
    except RaysvcError:
        return Check("Operator", "warn", "not looked for: raysvc may not list pods of all namespaces")
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
    if not running:
        return Check("Operator", "warn", "no running pod kuberay-operator is seen", f"If it runs nowhere: {_INSTALL}")
    image = (running[0].get("spec") or {}).get("containers", [{}])[0].get("image")
    return Check("Operator", "ok", f"{running[0]['metadata']['namespace']}/{running[0]['metadata']['name']}, {image}")


async def _nodes(connection: Connection) -> Check:
    try:
        nodes = (await connection.kube.must_get("/api/v1/nodes")).get("items") or []
    except RaysvcError as error:
        return Check("Nodes", "warn", f"not seen: {error.message}", "Without them, jobs too large for any node wait.")
    had = total(nodes)
    if unnamed := [node["metadata"]["name"] for node in nodes if _has_unnamed_gpus(node)]:
        detail = f"{', '.join(unnamed[:5])}: GPUs, and no label says which"
        return Check("Nodes", "warn", detail, "Install NVIDIA's GPU feature discovery: pools are found by its labels.")
    detail = f"{len(nodes)}: {had.cpus:g} CPUs, {had.gpus:g} GPUs, {had.memory / _GIB:.0f} GiB"
    return Check("Nodes", "ok" if nodes else "fail", detail, "" if nodes else "Add a node.")


def _has_unnamed_gpus(node: dict[str, Any]) -> bool:
    labels, had = node["metadata"].get("labels") or {}, (node.get("status") or {}).get("allocatable") or {}
    return quantity(had.get(GPU)) > 0 and _PRODUCT not in labels


def _sample(clock: Clock) -> Job:
    spec = JobSpec(entrypoint="true")
    made, _ = submit(spec, job_id="doctor", uid="0" * 16, project="default", owner="doctor", now=clock.now())
    return made.model_copy(update={"attempt": 1})


def sample_config(context: str | None, namespace: str | None) -> KubeConfig:
    """Return the configuration that a checkup goes by: nothing is kept on this machine."""
    return KubeConfig(data_dir=Path(), context=context, namespace=namespace)
