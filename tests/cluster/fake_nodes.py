"""Nodes that only the API server believes in, by the hundred: kwok says that they, and the pods on them, are ready."""

from collections.abc import Mapping
from typing import Any

from tests.cluster.api import Api
from tests.cluster.cgroup import Group
from tests.cluster.command import run
from tests.cluster.node import is_ready
from tests.cluster.pki import kubeconfig_of
from tests.cluster.plan import DISCOVERED, GPU_TAINT, POOL_LABEL, Plan
from tests.cluster.programs import Programs

POOL = "fake"
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
# As many as one NVLink domain of NVIDIA's GB200 racks joins.
DOMAIN_NODES = 18
_MARK = {"kwok.x-k8s.io/node": "fake"}
_PORT = 10247


def fake_node(index: int) -> dict[str, Any]:
    """Return the node of this index, from 0: eight GPUs, in an NVLink domain and a rack with its neighbours."""
    rack = index // DOMAIN_NODES + 1
    domain = {"nvidia.com/gpu.clique": f"00000000-0000-4000-8000-000000000000.{rack}"}
    labels = {**DISCOVERED, **domain, POOL_LABEL: POOL, "topology.kubernetes.io/zone": f"fake-rack-{rack}"}
    name = f"fake-{index + 1:04}"
    resources = {"cpu": "192", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": _MARK, "labels": {**labels, "kubernetes.io/hostname": name}},
        "spec": {"taints": [TAINT, GPU_TAINT]},
        "status": {"capacity": resources, "allocatable": resources},
    }


def start(plan: Plan, group: Group, programs: Programs, api: Api, count: int) -> None:
    """Have at least so many, and kwok if there are any. May be repeated."""
    for index in range(count):
        wanted = fake_node(index)
        if api.get(_path(wanted)) is None:
            api.post("/api/v1/nodes", wanted)
    member = group.child("kwok")
    if not count or member.processes():
        return
    stages = plan.home / "kwok.yaml"
    stages.write_text(run(programs.kubectl, "kustomize", programs["kwok"] / "kustomize" / "stage" / "fast"))
    address = plan.addresses.host
    member.start(
        [
            programs["kwok"] / "kwok",
            f"--kubeconfig={kubeconfig_of(plan, 'admin')}",
            f"--config={stages}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--server-address={address}:{_PORT}",
            f"--node-ip={address}",
            f"--node-port={_PORT}",
            f"--cidr={plan.addresses.fake_pods}",
        ],
        plan.logs / "kwok.log",
    )


def ready(api: Api, count: int) -> bool:
    """Tell whether so many are."""
    nodes = api.get(f"/api/v1/nodes?labelSelector={POOL_LABEL}={POOL}&resourceVersion=0")["items"]
    return sum(map(is_ready, nodes)) >= count


def _path(node: Mapping[str, Any]) -> str:
    return f"/api/v1/nodes/{node['metadata']['name']}"
