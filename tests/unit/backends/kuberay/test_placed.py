"""What is sent of an attempt that was placed: pods ask for what was counted, and go where it was counted."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysvc.backends.kuberay.clusters import quantity
from raysvc.backends.kuberay.config import KubeConfig
from raysvc.backends.kuberay.manifest import rendered
from raysvc.domain.job import Attempt, Job
from raysvc.domain.placement import GroupPlacement, Placement
from raysvc.domain.pool import PoolSpec
from raysvc.domain.resources import Resources
from raysvc.errors import Invalid
from tests.unit.backends.kuberay.scene import INSTANCE
from tests.unit.backends.kuberay.test_manifest import GOLDEN, Plain, made

GIB = 1 << 30
CONFIG = KubeConfig(data_dir=Path("/nowhere"))
HEADS = {
    "selector": {"pool": "heads"},
    "node_class": "system",
    "nodes": {"fixed": 3},
    "taints": [{"key": "CriticalAddonsOnly", "value": "true"}],
}
METAL = {
    "selector": {"pool": "metal"},
    "nodes": {"fixed": 36},
    "accelerator": {"name": "GB200", "count": 4},
    "taints": [{"key": "nvidia.com/gpu", "value": "present"}],
    "tolerations": [{"key": "example.com/reserved", "operator": "Exists"}],
    "rdma": {"resource": "rdma/ib", "count": 4},
    "hugepages": {"2Mi": 8 * GIB},
    "numa": "single-numa-node",
    "compute_domain": True,
}
CLOUD = {
    "selector": {"pool": "cloud"},
    "nodes": {"max": 8},
    "node": {"cpus": 90, "memory": 900 * GIB},
    "accelerator": {"name": "H100", "count": 8, "resource": "example.com/gpu"},
    "spot": True,
    "topology": {"rack": "example.com/rack"},
}
POOLS = {name: PoolSpec.model_validate(spec) for name, spec in (("heads", HEADS), ("metal", METAL), ("cloud", CLOUD))}
WIDE = {
    "name": "wide",
    "topology": "nvlink-domain",
    "scale": {"min": 4, "want": 4, "max": 4},
    "resources": {"cpus": 7.5, "gpus": 2, "memory": 64 * GIB},
}
BURST = {
    "name": "burst",
    "topology": "rack",
    "scale": {"min": 0, "want": 0, "max": 8},
    "resources": {"cpus": 8, "gpus": 8},
}
# Specs, and where each group was placed.
CASES: dict[str, tuple[dict[str, Any], tuple[dict[str, Any], ...]]] = {
    "gang_on_metal": (
        {"shape": {"workers": [WIDE]}, "resources": {"cpus": 2, "gpus": 1}},
        (
            {"group": "wide", "pool": "metal", "nodes": {"m-1": 2, "m-2": 2}, "domain": "7b968a6d.1", "most": 30},
            {"group": "driver", "pool": "cloud", "nodes": {}, "new_nodes": 1, "most": 64},
        ),
    ),
    "elastic_in_a_rack": (
        {"shape": {"workers": [BURST]}},
        ({"group": "burst", "pool": "cloud", "nodes": {}, "domain": "r-7", "most": 3},),
    ),
}


def placed(case: str) -> Job:
    spec, seats = CASES[case]
    groups = tuple(GroupPlacement.model_validate(seat) for seat in seats)
    placement = Placement(groups=groups, head_pool="heads", head_node="s-1", pools=POOLS)
    job = made(**spec)
    attempt = Attempt(job=job.uid, number=1, cluster="kube", created_at=job.created_at, placement=placement)
    return job.model_copy(update={"attempts": (attempt,)})


def documents(case: str) -> tuple[dict[str, Any], ...]:
    return rendered(placed(case), CONFIG, INSTANCE).documents


def cluster(case: str) -> dict[str, Any]:
    job = next(document for document in documents(case) if document.get("kind") == "RayJob")
    return dict(job["spec"]["rayClusterSpec"])


def pods(case: str) -> list[dict[str, Any]]:
    """Return the pods' specs, the head's first."""
    found = cluster(case)
    return [group["template"]["spec"] for group in (found["headGroupSpec"], *found["workerGroupSpecs"])]


def terms(pod: dict[str, Any]) -> Any:
    return pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]


@pytest.mark.parametrize("case", CASES)
def test_rendering(case: str) -> None:
    text = yaml.dump_all(documents(case), Dumper=Plain, sort_keys=False)
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get("RAYSVC_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


def test_a_pod_asks_for_what_placement_counts() -> None:
    """One that asked for more than was thought would wait for ever on the node that was chosen for it."""
    job, pods_ = placed("gang_on_metal"), pods("gang_on_metal")
    ask = job.spec.ask(job.project)
    counted = (("heads", ask.head), ("metal", ask.groups[0].resources), ("cloud", ask.groups[1].resources))
    for pod, (pool, each) in zip(pods_, counted, strict=True):
        (container,) = pod["containers"]
        asked = container["resources"]["requests"]
        assert asked == container["resources"]["limits"]
        assert {name: quantity(amount) for name, amount in asked.items()} == POOLS[pool].needs(each)
    assert POOLS["metal"].needs(Resources(cpus=7.5, gpus=2))["cpu"] == 8, "the kubelet pins whole CPUs"


def test_rdma_comes_with_the_right_to_pin_memory_and_nothing_else_does() -> None:
    capabilities = [pod["containers"][0]["securityContext"]["capabilities"] for pod in pods("gang_on_metal")]
    assert capabilities == [{"drop": ["ALL"]}, {"drop": ["ALL"], "add": ["IPC_LOCK"]}, {"drop": ["ALL"]}]


def test_workers_go_where_they_were_placed_and_share_its_nodes_as_was_thought() -> None:
    head, wide, driver = pods("gang_on_metal")
    assert [term["matchFields"][0]["values"] for term in terms(wide)] == [["m-1"], ["m-2"]]
    assert wide["topologySpreadConstraints"][0]["maxSkew"] == 1
    assert "affinity" not in driver, "its node has yet to be made"
    assert (head["nodeSelector"], "affinity" in head) == ({"pool": "heads"}, False)
    assert head["tolerations"][0]["key"] == "CriticalAddonsOnly"
    assert "tolerations" not in driver


def test_a_group_grows_within_its_domain_to_as_many_as_there_was_room_for() -> None:
    found = cluster("elastic_in_a_rack")
    (group,) = found["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (0, 0, 3)
    assert (found["enableInTreeAutoscaling"], found["autoscalerOptions"]["version"]) == (True, "v2")
    assert terms(pods("elastic_in_a_rack")[1]) == [
        {"matchExpressions": [{"key": "example.com/rack", "operator": "In", "values": ["r-7"]}]}
    ]


def test_a_driver_that_asks_for_gpus_has_a_pod_that_no_other_group_can_stand_in_for() -> None:
    body = next(document["body"] for document in documents("gang_on_metal") if document.get("method") == "POST")
    assert (body["entrypoint_num_gpus"], body["entrypoint_resources"]) == (1, {"raysvc-driver": 1})
    found = cluster("gang_on_metal")
    wide, driver = (group["resources"] for group in found["workerGroupSpecs"])
    assert (driver["raysvc-driver"], driver["GPU"]) == ("1.0", "1")
    assert "raysvc-driver" not in wide
    assert found["headGroupSpec"]["resources"]["GPU"] == "0"
    with pytest.raises(Invalid, match="'driver'"):
        rendered(made(resources={"gpus": 1}, shape={"workers": [{"name": "driver"}]}), CONFIG, INSTANCE)


def test_nvlink_over_several_nodes_is_claimed() -> None:
    (domain,) = [document for document in documents("gang_on_metal") if document.get("kind") == "ComputeDomain"]
    name, wide = domain["metadata"]["name"], pods("gang_on_metal")[1]
    assert domain["spec"]["channel"]["resourceClaimTemplate"] == {"name": name}
    assert wide["resourceClaims"] == [{"name": "nvlink", "resourceClaimTemplateName": name}]
    assert wide["containers"][0]["resources"]["claims"] == [{"name": "nvlink"}]
