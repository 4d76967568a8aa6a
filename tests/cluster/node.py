"""A node: a process tree with namespaces of its own, in which containerd, kube-proxy and the kubelet run.

As `kind` makes nodes, but without Docker. When its first process ends, the kernel ends all pods and mounts with it.
"""

import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import network, render
from tests.cluster.api import Api
from tests.cluster.cgroup import Group
from tests.cluster.command import run
from tests.cluster.pki import kubeconfig_of
from tests.cluster.plan import Node, Plan
from tests.cluster.programs import Programs

_CHECKOUT = Path(__file__).parents[2]
_KUBELET_PORT = 10250
_CONNECT_S = 0.5
GPU_RESOURCE = "nvidia.com/gpu"
# Folders of the machine that a node has for itself.
_OWN = {"kubelet": "/var/lib/kubelet", "cni-state": "/var/lib/cni", "log": "/var/log"}


@dataclass(frozen=True)
class Equipment:
    """What all nodes are given: programs, the store of images, and folders of the machine to put into containers."""

    programs: Programs
    images: Path
    mounts: Mapping[str, str]


def start(plan: Plan, group: Group, node: Node, equipment: Equipment) -> None:
    """Start it, unless it runs. What it stored before, images and all, it finds again. May be repeated."""
    member = group.child(node.name)
    if member.processes():
        return
    member.end()
    network.connect(plan, node)
    _write_settings(plan, group, node, equipment)
    within = f"/run/netns/{network.namespace(plan, node)}"
    namespaces = "--mount --pid --fork --kill-child --uts --ipc --cgroup --mount-proc --propagation private"
    member.start(
        [
            *("nsenter", f"--net={within}", "unshare", *namespaces.split()),
            *(sys.executable, "-m", "tests.cluster.node_init", plan.node_folder(node) / "init.json"),
        ],
        plan.logs / f"{node.name}.log",
        env={"PYTHONPATH": str(_CHECKOUT)},
    )


def stop(plan: Plan, group: Group, node: Node) -> None:
    """Take its power away. The API server is not told. May be repeated."""
    group.child(node.name).end()
    network.disconnect(plan, node)


def ready(plan: Plan, node: Node, api: Api) -> bool:
    """Tell whether its kubelet runs now, and the API server thinks so too."""
    try:
        socket.create_connection((plan.addresses.node(node.index), _KUBELET_PORT), _CONNECT_S).close()
    except OSError:
        return False
    found = api.get(f"/api/v1/nodes/{node.name}")
    return found is not None and is_ready(found)


def is_ready(node: Mapping[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def offer_gpus(node: Node, api: Api) -> bool:
    """Say that it has the GPUs of the plan, as a device plugin would; tell whether pods may ask for them yet."""
    if not node.gpus:
        return True
    path = f"/api/v1/nodes/{node.name}"
    status = api.get(path)["status"]
    wanted = str(node.gpus)
    if status["capacity"].get(GPU_RESOURCE) != wanted:
        escaped = GPU_RESOURCE.replace("/", "~1")
        api.patch(f"{path}/status", [{"op": "add", "path": f"/status/capacity/{escaped}", "value": wanted}])
    return bool(status["allocatable"].get(GPU_RESOURCE) == wanted)


def _write_settings(plan: Plan, group: Group, node: Node, equipment: Equipment) -> None:
    folder, programs = plan.node_folder(node), equipment.programs
    for name in (*_OWN, "cni", "sysctl"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ctr = programs["containerd"] / "ctr"
    spec = render.container_spec(json.loads(run(ctr, "oci", "spec")), equipment.mounts)
    _write(folder / "container-spec.json", spec)
    (folder / "containerd.toml").write_text(render.containerd(plan, node, folder / "container-spec.json"))
    _write(folder / "cni" / "pods.conflist", render.pod_network(plan, node))
    (folder / "resolv.conf").write_text(f"nameserver {plan.addresses.host}\n")
    _write(folder / "kubelet.json", render.kubelet(plan, node))
    _write(folder / "kube-proxy.json", render.kube_proxy(plan, node, kubeconfig_of(plan, "proxy")))
    for name, value in render.SYSCTLS.items():
        file = folder / "sysctl" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    kubelet = {
        "config": folder / "kubelet.json",
        "kubeconfig": kubeconfig_of(plan, node.name),
        "hostname-override": node.name,
        "node-ip": plan.addresses.node(node.index),
        "node-labels": render.labels(node),
    }
    kubernetes = str(programs.kubernetes)
    settings = {
        "hostname": node.name,
        "cgroups": [hierarchy.options for hierarchy in group.hierarchies],
        "mounts": {str(folder / name): at for name, at in _OWN.items()},
        "sysctls": {str(folder / "sysctl" / name): f"/proc/sys/{name}" for name in render.SYSCTLS},
        "path": str(programs["containerd"]),
        "image_store": str(equipment.images),
        "containerd_root": str(folder / "containerd"),
        "logs": str(plan.logs),
        "runtime": ["containerd", "--config", str(folder / "containerd.toml")],
        "services": {
            "kube-proxy": [kubernetes, "kube-proxy", "--config", str(folder / "kube-proxy.json")],
            "kubelet": [kubernetes, "kubelet", *render.flags(kubelet)],
        },
    }
    _write(folder / "init.json", settings)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1))
