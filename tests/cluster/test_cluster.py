"""The cluster itself: a second one beside a developer's, killed in all its parts, and gone without a trace."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import cluster, programs
from tests.cluster.fixture import need
from tests.cluster.node import is_ready
from tests.cluster.plan import GPU_TAINT, POOL_LABEL, RAY_IMAGE, RAY_VERSION, Addresses, Plan

# Ten minutes of compiling, where nothing is built yet.
pytestmark = [pytest.mark.kube, pytest.mark.timeout(1800)]

_EVICT = [
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}
    for state in ("unreachable", "not-ready")
]
_ASK_RAY = """
import json, ray, torch
ray.init(log_to_driver=False)
names = ray.get([ray.remote(num_gpus=1)(lambda: torch.ones(3).sum().item()).remote() for _ in range(2)])
print(json.dumps({"nodes": len([n for n in ray.nodes() if n["Alive"]]), "sums": names}))
"""


@pytest.fixture(scope="module")
def traces() -> set[str]:
    return _traces()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, traces: set[str]) -> Iterator[Plan]:
    need()
    plan = Plan(tmp_path_factory.mktemp("kube") / "cluster", Addresses("10.214"), fake_nodes=20)
    try:
        cluster.up(plan)
        yield plan
    finally:
        cluster.down(plan)
    assert _traces() <= traces


def test_all_parts_run(plan: Plan) -> None:
    assert all(runs for _, runs in cluster.status(plan))


def test_gpu_nodes_offer_gpus_and_say_which(plan: Plan) -> None:
    nodes = _get(plan, "nodes", "-l", f"{POOL_LABEL}=gpu")["items"]
    assert [node["status"]["allocatable"]["nvidia.com/gpu"] for node in nodes] == ["8", "8"]
    assert {node["metadata"]["labels"]["nvidia.com/gpu.product"] for node in nodes} == {"NVIDIA-H100-80GB-HBM3"}
    assert all(GPU_TAINT.items() <= node["spec"]["taints"][0].items() for node in nodes)


def test_pods_on_fake_nodes_run_in_name(plan: Plan) -> None:
    tolerations = [{"operator": "Exists"}]
    spec = {
        "nodeSelector": {POOL_LABEL: "fake"},
        "tolerations": tolerations,
        "containers": [_container("fake", gpus=8)],
    }
    _apply(plan, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fake"}, "spec": spec})
    _wait(lambda: _get(plan, "pod", "fake")["status"].get("phase") == "Running", within_s=30)


def test_a_ray_cluster_spans_nodes_and_computes(plan: Plan) -> None:
    _apply(plan, _ray_cluster())
    _wait(lambda: _ray_ready(plan), within_s=180)
    workers = _pods(plan, "worker")
    assert {pod["spec"]["nodeName"] for pod in workers} <= {"gpu-1", "gpu-2"}
    (head,) = _pods(plan, "head")
    said = _kubectl(plan, "exec", head["metadata"]["name"], "--", "python", "-c", _ASK_RAY)
    assert json.loads(said.splitlines()[-1]) == {"nodes": 3, "sums": [3.0, 3.0]}


def test_a_killed_node_is_noticed_and_comes_back(plan: Plan) -> None:
    victim = _pods(plan, "worker")[0]
    name, pod = victim["spec"]["nodeName"], victim["metadata"]["name"]
    cluster.kill_node(plan, name)
    _wait(lambda: not _node_ready(plan, name), within_s=60)
    _wait(
        lambda: pod not in {each["metadata"]["name"] for each in _pods(plan, "worker") if not _ending(each)},
        within_s=60,
    )
    cluster.start_node(plan, name)
    _wait(lambda: _node_ready(plan, name), within_s=60)
    _wait(lambda: _ray_ready(plan), within_s=180)


def test_up_after_kills_brings_all_back_with_what_was_in_it(plan: Plan) -> None:
    kept = _get(plan, "namespace", "default")["metadata"]["uid"]
    for name in ("etcd", "kube-apiserver", "kubelet", "containerd", "coredns"):
        for process in _processes(plan, name):
            with suppress(ProcessLookupError):  # it went with another
                os.kill(process, signal.SIGKILL)
    cluster.up(plan)
    _wait(lambda: all(runs for _, runs in cluster.status(plan)), within_s=60)
    assert _get(plan, "namespace", "default")["metadata"]["uid"] == kept


def test_up_again_starts_nothing(plan: Plan) -> None:
    names = ("etcd", "kube-apiserver", "kube-scheduler", "kubelet", "containerd", "coredns")
    before = {name: _processes(plan, name) for name in names}
    cluster.up(plan)
    assert {name: _processes(plan, name) for name in names} == before
    assert all(before.values())


def _ray_cluster() -> dict[str, Any]:
    head = {"nodeSelector": {POOL_LABEL: "system"}, "containers": [_container("ray-head")]}
    tolerations = [{"key": GPU_TAINT["key"], "operator": "Exists", "effect": "NoSchedule"}, *_EVICT]
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"ray.io/node-type": "worker"}},
        "nodeTaintsPolicy": "Honor",
    }
    worker = {
        "nodeSelector": {POOL_LABEL: "gpu"},
        "tolerations": tolerations,
        "topologySpreadConstraints": [{**spread, "whenUnsatisfiable": "ScheduleAnyway"}],
        "containers": [_container("ray-worker", gpus=1)],
    }
    group = {"groupName": "gpu", "replicas": 2, "minReplicas": 2, "maxReplicas": 2, "rayStartParams": {"num-cpus": "1"}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "both"},
        "spec": {
            "rayVersion": RAY_VERSION,
            "headGroupSpec": {"rayStartParams": {"num-cpus": "1"}, "template": {"spec": head}},
            "workerGroupSpecs": [{**group, "template": {"spec": worker}}],
        },
    }


def _container(name: str, *, gpus: int = 0) -> dict[str, Any]:
    limits = {"cpu": "2", "memory": "3Gi"} | ({"nvidia.com/gpu": str(gpus)} if gpus else {})
    resources = {"limits": limits, "requests": {"cpu": "100m", "memory": "512Mi"}}
    return {"name": name, "image": RAY_IMAGE, "imagePullPolicy": "IfNotPresent", "resources": resources}


def _ray_ready(plan: Plan) -> bool:
    status = _get(plan, "raycluster", "both").get("status", {})
    return bool(status.get("state") == "ready" and status.get("readyWorkerReplicas") == 2)


def _pods(plan: Plan, kind: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = _get(plan, "pods", "-l", f"ray.io/node-type={kind}")["items"]
    return items


def _ending(pod: dict[str, Any]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _node_ready(plan: Plan, name: str) -> bool:
    return is_ready(_get(plan, "node", name))


def _get(plan: Plan, *what: str) -> Any:
    return json.loads(_kubectl(plan, "get", "-o", "json", *what))


def _apply(plan: Plan, wanted: dict[str, Any]) -> None:
    _kubectl(plan, "apply", "-f", "-", given=json.dumps(wanted))


def _kubectl(plan: Plan, *arguments: str, given: str | None = None) -> str:
    command: list[str | Path] = [programs.built().kubectl, f"--kubeconfig={plan.kubeconfig}", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _wait(holds: Callable[[], bool], *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.2)


def _processes(plan: Plan, name: str) -> set[int]:
    """Return those of the cluster that were started as this program."""
    found = set()
    for process in cluster.group_of(plan).processes():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            if name in {Path(word.decode(errors="replace")).name for word in words[:2]}:
                found.add(process)
    return found


def _traces() -> set[str]:
    """Return what a cluster could leave on this machine: mounts, interfaces, routes, cgroups, folders."""
    said = [
        subprocess.run(command.split(), check=False, capture_output=True, text=True).stdout.splitlines()
        for command in (
            "findmnt --raw --noheadings --output TARGET,FSTYPE",
            "ip -oneline -brief link",
            "ip route",
            "ip netns",
            "find /sys/fs/cgroup -name rt214*",
            "find /opt /var/lib /var/log /etc/cni /etc/containerd /usr/libexec /run -maxdepth 1",
        )
    ]
    return {" ".join(line.split()) for lines in said for line in lines}
