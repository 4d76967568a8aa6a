"""Pools that nodes suggest: NVIDIA's labels with and without suffixes, the clouds' own, and plain machines."""

from typing import Any

import pytest

from raysvc.backends.kuberay.discover import discover, node_view
from raysvc.control.place import place
from raysvc.domain.placement import Ask, Placement
from raysvc.domain.pool import Discovery, Pool, Proposal, check_pools
from raysvc.domain.resources import Resources, Scale, WorkerGroup
from tests.unit.control.ground import AT

GFD = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8", "nvidia.com/gpu.memory": "81559"}
INFO = {
    "kernelVersion": "6.8.0-31-generic",
    "osImage": "Ubuntu 24.04.1 LTS",
    "containerRuntimeVersion": "containerd://2.1.4",
    "kubeletVersion": "v1.36.3",
}


def machine(
    name: str,
    labels: dict[str, str] | None = None,
    gpus: int = 0,
    *,
    taints: tuple[str, ...] = (),
    has: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Return a Node object. `has`: more of its allocatable amounts."""
    amounts = {"cpu": "63770m", "memory": "500Gi", "pods": "110", **(has or {})}
    if gpus:
        amounts["nvidia.com/gpu"] = str(gpus)
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": {
            "taints": [
                {"key": key, "value": value, "effect": "NoSchedule"}
                for key, _, value in (it.partition("=") for it in taints)
            ]
        },
        "status": {
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
            "nodeInfo": INFO,
        },
    }


def only(found: Discovery) -> Proposal:
    (proposal,) = found.pools
    return proposal


def test_bare_metal_with_nvidias_labels() -> None:
    labels = {
        **GFD,
        "acme.com/pool": "h100",
        "acme.com/rack": "r1",
        "nvidia.com/cuda.driver-version.full": "570.124.06",
    }
    nodes = [
        machine(
            f"gpu-{n}",
            {**labels, "nvidia.com/gpu.clique": "u.1"},
            8,
            taints=("nvidia.com/gpu=present",),
            has={"rdma/ib": "8"},
        )
        for n in range(4)
    ]
    proposal = only(discover(nodes))
    spec = proposal.spec
    assert (proposal.name, proposal.nodes, proposal.notes) == ("h100", 4, ())
    assert spec.selector == {"acme.com/pool": "h100"}
    assert (spec.nodes.fixed, spec.nodes.max, spec.node_class, spec.spot) == (4, None, "user", False)
    assert spec.accelerator
    assert (spec.accelerator.full, spec.accelerator.count, spec.accelerator.memory_mib) == ("H100", 8, 81559)
    assert [str(taint) for taint in spec.taints] == ["nvidia.com/gpu=present:NoSchedule"]
    assert spec.rdma
    assert (spec.rdma.resource, spec.rdma.count) == ("rdma/ib", 8)
    assert (spec.topology.nvlink_domain, spec.topology.rack) == ("nvidia.com/gpu.clique", "acme.com/rack")
    assert (spec.node.cpus, spec.node.memory) == (63.77, 500 << 30)
    assert (spec.os.kernel, spec.os.driver, spec.os.on_drift) == ("6.8.0-31-generic", "570.124.06", "report")


@pytest.mark.parametrize(
    ("labels", "has", "full", "count", "resource"),
    [
        (
            {"nvidia.com/gpu.product": "Tesla-T4-SHARED", "nvidia.com/gpu.replicas": "4"},
            {"nvidia.com/gpu": "4"},
            "T4-SHARED",
            1,
            "nvidia.com/gpu",
        ),
        (
            {"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.replicas": "4"},
            {"nvidia.com/gpu.shared": "8"},
            "T4-SHARED",
            2,
            "nvidia.com/gpu.shared",
        ),
        (
            {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"},
            {"nvidia.com/gpu": "56"},
            "A100-40GB-MIG-1g.5gb",
            56,
            "nvidia.com/gpu",
        ),
        (
            {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB", "nvidia.com/mig.strategy": "mixed"},
            {"nvidia.com/mig-3g.20gb": "2"},
            "A100-40GB-MIG-3g.20gb",
            2,
            "nvidia.com/mig-3g.20gb",
        ),
        ({"nvidia.com/gpu.product": "NVIDIA-Q9-Max"}, {"nvidia.com/gpu": "2"}, "Q9-Max", 2, "nvidia.com/gpu"),
        ({"cloud.google.com/gke-accelerator": "nvidia-l4"}, {"nvidia.com/gpu": "1"}, "L4", 1, "nvidia.com/gpu"),
        ({"karpenter.k8s.aws/instance-gpu-name": "a10g"}, {"nvidia.com/gpu": "4"}, "A10G", 4, "nvidia.com/gpu"),
    ],
)
def test_gpus_that_are_cut_up_shared_new_or_named_by_a_cloud(
    labels: dict[str, str], has: dict[str, str], full: str, count: int, resource: str
) -> None:
    node = machine("a", {"pool": "x", **labels}, has=has)
    accelerator = only(discover([node])).spec.accelerator
    assert accelerator
    assert (accelerator.full, accelerator.count, accelerator.resource) == (full, count, resource)
    product = labels.get("nvidia.com/gpu.product")
    assert product is None or product in accelerator.labels


@pytest.mark.parametrize(
    ("labels", "name", "selector", "spot"),
    [
        (
            {"kubernetes.azure.com/agentpool": "gpu", "kubernetes.azure.com/mode": "user"},
            "gpu",
            {"kubernetes.azure.com/agentpool": "gpu"},
            False,
        ),
        (
            {"kubernetes.azure.com/agentpool": "sp", "kubernetes.azure.com/scalesetpriority": "spot"},
            "sp",
            {"kubernetes.azure.com/agentpool": "sp"},
            True,
        ),
        (
            {"cloud.google.com/gke-nodepool": "Train_A", "cloud.google.com/gke-spot": "true"},
            "train-a",
            {"cloud.google.com/gke-nodepool": "Train_A"},
            True,
        ),
        (
            {"eks.amazonaws.com/nodegroup": "p5", "eks.amazonaws.com/capacityType": "ON_DEMAND"},
            "p5",
            {"eks.amazonaws.com/nodegroup": "p5"},
            False,
        ),
        (
            {
                "karpenter.sh/nodepool": "any",
                "karpenter.sh/capacity-type": "spot",
                "node.kubernetes.io/instance-type": "p5.48xlarge",
            },
            "any",
            {
                "karpenter.sh/nodepool": "any",
                "nvidia.com/gpu.product": GFD["nvidia.com/gpu.product"],
                "karpenter.sh/capacity-type": "spot",
            },
            True,
        ),
    ],
)
def test_pools_of_clouds_and_of_karpenter(
    labels: dict[str, str], name: str, selector: dict[str, str], spot: bool
) -> None:
    proposal = only(discover([machine("a", {**GFD, **labels}, 8), machine("b", {**GFD, **labels}, 8)]))
    assert (proposal.name, proposal.spec.selector, proposal.spec.spot) == (name, selector, spot)
    assert proposal.spec.nodes.max == 2
    assert proposal.notes == ("nodes.max is what is there now, 2: set it to what the pool may grow to",)


def test_a_karpenter_pool_of_several_kinds_becomes_several() -> None:
    pool = {"karpenter.sh/nodepool": "any"}
    other = {**pool, "nvidia.com/gpu.product": "NVIDIA-L4"}
    cpu = {**pool, "node.kubernetes.io/instance-type": "m7i.8xlarge"}
    found = discover([machine("a", {**pool, **GFD}, 8), machine("b", other, 1), machine("c", cpu)])
    assert {it.name: it.spec.accelerator and it.spec.accelerator.name for it in found.pools} == {
        "any": None,
        "any-h100": "H100",
        "any-l4": "L4",
    }


def test_system_pools_are_told_by_mode_taint_or_else_chosen_and_said() -> None:
    aks = machine("s", {"agentpool": "sys", "kubernetes.azure.com/mode": "system"})
    assert only(discover([aks])).spec.node_class == "system"
    tainted = machine("s", {"agentpool": "sys"}, taints=("CriticalAddonsOnly=true",))
    assert only(discover([tainted])).spec.node_class == "system"
    found = discover(
        [machine("a", {"pool": "cpu"}), machine("b", {"pool": "more"}), machine("c", {"pool": "gpu", **GFD}, 8)]
    )
    assert [(it.name, it.spec.node_class) for it in found.pools] == [
        ("cpu", "system"),
        ("gpu", "user"),
        ("more", "user"),
    ]
    assert "proposed as such" in found.pools[0].notes[-1]


def test_what_cannot_be_told_is_left_and_said() -> None:
    found = discover(
        [
            machine("cp", {"node-role.kubernetes.io/control-plane": ""}),
            machine("bare"),
            machine("dark", {"pool": "x"}, 8),
        ]
    )
    assert found.pools == ()
    assert found.left == (
        "bare: no label tells its pool; give it one, such as raysvc.dev/pool=NAME",
        "cp: belongs to the control plane",
        "dark: has nvidia.com/gpu, and no label says which: run NVIDIA's GPU feature discovery there",
    )


def test_what_differs_among_a_pools_nodes_is_no_profile_but_a_note() -> None:
    new, old = machine("a", {"pool": "x"}, taints=("team=a",)), machine("b", {"pool": "x"})
    old["status"]["nodeInfo"] = {**INFO, "kernelVersion": "6.5.0"}
    proposal = only(discover([new, old]))
    assert (proposal.spec.os.kernel, proposal.spec.os.kubelet, proposal.spec.taints) == (None, "v1.36.3", ())
    assert "os.kernel differs: 1 × 6.5.0, 1 × 6.8.0-31-generic" in proposal.notes
    assert proposal.notes[0].startswith("its nodes have different taints")


def test_a_broken_gpu_does_not_make_the_pool_smaller() -> None:
    labels = {"pool": "x", **GFD}
    accelerator = only(discover([machine("a", labels, 7), machine("b", labels, 8)])).spec.accelerator
    assert accelerator
    assert accelerator.count == 8


def test_a_node_as_placement_sees_it() -> None:
    node = machine("a", {"nvidia.com/cuda.driver.major": "550", "nvidia.com/cuda.driver.minor": "90"}, 8)
    node["spec"]["unschedulable"] = True
    node["status"]["conditions"] = [{"type": "Ready", "status": "Unknown"}, {"type": "GpuLost", "status": "True"}]
    node["spec"]["taints"] = [{"key": "a", "effect": "NoExecute"}, {"key": "b", "effect": "ofAnotherWorld"}]
    view = node_view(node, {"cpu": 2.0})
    assert (view.ready, view.cordoned, view.trouble) == (False, True, "not ready")
    assert (view.allocatable["cpu"], view.allocatable["memory"], view.used) == (63.77, 500 << 30, {"cpu": 2.0})
    assert [str(taint) for taint in view.taints] == ["a:NoExecute"]
    assert (view.os.driver, view.os.kubelet) == ("550.90", "v1.36.3")
    assert node_view({"metadata": {"name": "empty"}}).ready is False


def test_what_is_proposed_can_be_declared_and_used_whatever_the_order_of_nodes() -> None:
    nodes = [
        machine(f"gpu-{n}", {**GFD, "example.com/pool": "gpu"}, 8, taints=("nvidia.com/gpu=present",)) for n in range(2)
    ]
    nodes += [machine("sys-1", {"example.com/pool": "system"}), machine("cpu-1", {"example.com/pool": "work"})]
    found = discover(nodes)
    nodes.reverse()
    assert discover(nodes) == found
    pools = [Pool(name=it.name, spec=it.spec, created_at=AT, updated_at=AT) for it in found.pools]
    views = [node_view(node) for node in nodes]
    check_pools(pools, views)
    workers = WorkerGroup(scale=Scale(want=2, max=2), resources=Resources(cpus=8, gpus=8), accelerator="H100")
    answer = place(Ask(groups=(workers,), head=Resources(cpus=1)), pools, views, {})
    assert isinstance(answer, Placement)
    assert answer.groups[0].nodes == {"gpu-0": 1, "gpu-1": 1}
    assert answer.head_node == "sys-1"
