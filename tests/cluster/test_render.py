import tomllib
from pathlib import Path

from tests.cluster import control_plane, kuberay, render
from tests.cluster.plan import GPU_TAINT, NODES, Plan

PLAN = Plan(Path("/home/of/cluster"))
SYSTEM, GPU, *_ = NODES


def test_only_gpu_nodes_are_tainted() -> None:
    assert render.kubelet(PLAN, GPU)["registerWithTaints"] == [GPU_TAINT]
    assert render.kubelet(PLAN, SYSTEM)["registerWithTaints"] == []


def test_containerd_is_given_toml_with_folders_of_this_node() -> None:
    config = tomllib.loads(render.containerd(PLAN, GPU, Path("/spec.json")))
    runtime = config["plugins"]["io.containerd.cri.v1.runtime"]
    assert config["root"] == "/home/of/cluster/node/gpu-1/containerd"
    assert runtime["containerd"]["runtimes"]["runc"]["base_runtime_spec"] == "/spec.json"
    assert runtime["cni"]["conf_dir"] == "/home/of/cluster/node/gpu-1/cni"


def test_containers_see_the_added_folders_read_only_and_keep_their_own_mounts() -> None:
    default = {"process": {"cwd": "/", "rlimits": [{"hard": 1024}]}, "mounts": [{"destination": "/proc"}]}
    spec = render.container_spec(default, {"/opt/torch": "/cache/torch"})
    (kept, added) = spec["mounts"]
    assert kept == {"destination": "/proc"}
    assert (added["destination"], added["source"]) == ("/opt/torch", "/cache/torch")
    assert "ro" in added["options"]
    assert spec["process"] == {"cwd": "/"}


def test_pods_of_a_node_get_addresses_of_that_node() -> None:
    (bridge, _) = render.pod_network(PLAN, GPU)["plugins"]
    assert bridge["ipam"]["ranges"] == [[{"subnet": PLAN.addresses.pods_of(GPU.index)}]]


def test_flags_are_spelt_as_kubernetes_reads_them() -> None:
    assert render.flags({"a": True, "b": False, "c": Path("/x"), "d": "y"}) == [
        "--a=true",
        "--b=false",
        "--c=/x",
        "--d=y",
    ]


def test_nothing_of_the_control_plane_listens_for_everyone() -> None:
    for arguments in (control_plane.etcd(PLAN), control_plane.api_server(PLAN), control_plane.scheduler(PLAN)):
        assert not any("0.0.0.0" in argument for argument in arguments)  # noqa: S104 it is what must not be there
    clients = next(each for each in control_plane.etcd(PLAN) if each.startswith("--listen-client-urls="))
    assert clients.startswith("--listen-client-urls=http://127.")


def test_the_operator_runs_on_the_system_node_from_the_image_made_here() -> None:
    said = kuberay.kustomization()
    assert said["images"][0]["newName"] == "raysvc.test/kuberay-operator"
    assert '"raysvc.test/pool": "system"' in said["patches"][0]["patch"]
