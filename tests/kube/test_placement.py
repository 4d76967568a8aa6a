"""Declared pools on a real cluster: gangs land where they were placed, heads on system nodes, and Ray grows a group."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import raysvc
from raysvc.domain.inventory import NewPool
from raysvc.domain.job import JobPhase, JobSpec
from raysvc.domain.placement import Placement
from raysvc.domain.reason import ReasonCode
from tests.cluster.plan import GPU_TAINT, NODES, POOL_LABEL
from tests.kube.kubectl import Kubectl
from tests.kube.server import KubeServer
from tests.real.platform_process import eventually

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]
RUN_S = 400.0
GPU_NODES = {node.name for node in NODES if node.gpus}
POOLS: tuple[dict[str, Any], ...] = (
    {
        "name": "gpu",
        "spec": {
            "selector": {POOL_LABEL: "gpu"},
            "nodes": {"fixed": len(GPU_NODES)},
            "accelerator": {"name": "H100", "count": 8},
            "taints": [GPU_TAINT],
        },
    },
    {"name": "heads", "spec": {"selector": {POOL_LABEL: "system"}, "node_class": "system", "nodes": {"fixed": 1}}},
)
GANG = {"name": "train", "scale": {"min": 2, "want": 2, "max": 2}, "resources": {"gpus": 8}, "accelerator": "H100"}
HOLD = """
import ray, time
ray.init(log_to_driver=False)
print("GPUs", ray.cluster_resources().get("GPU"), flush=True)
time.sleep(15)
"""
DRIVER = """
import os, ray
ray.init(log_to_driver=False)
print("driver has", os.environ["CUDA_VISIBLE_DEVICES"], "of", ray.cluster_resources().get("GPU"), flush=True)
"""
ELASTIC = """
import ray, time
ray.init(log_to_driver=False)

def workers():
    return sum(node["Alive"] and node["Resources"].get("GPU", 0) > 0 for node in ray.nodes())

@ray.remote(num_gpus=8)
def work():
    time.sleep(5)
    return ray.get_runtime_context().get_node_id()

print("before", workers(), flush=True)
print("worked on", len({*ray.get([work.remote(), work.remote()])}), flush=True)
deadline = time.monotonic() + 240
while workers() and time.monotonic() < deadline:
    time.sleep(1)
print("after", workers(), flush=True)
"""


@pytest.fixture
def client(tmp_path: Path, kubeconfig: Path, ray_image: str) -> Iterator[raysvc.Client]:
    server = KubeServer(tmp_path / "data", kubeconfig, ray_image)
    try:
        with server.start() as client:
            client.pools.apply([NewPool.model_validate(pool) for pool in POOLS])
            yield client
    finally:
        server.end(signal.SIGTERM)
        # What a failed test leaves would keep the next one waiting for its head.
        Kubectl(kubeconfig)("delete", "rayjobs", "--selector=app.kubernetes.io/managed-by=raysvc", "--timeout=60s")


def spec(program: str, *groups: dict[str, Any], **fields: Any) -> JobSpec:
    return JobSpec.model_validate({"entrypoint": f"python -c '{program}'", "shape": {"workers": groups}, **fields})


def placed(client: raysvc.Client, job_id: str) -> Placement:
    placement = client.jobs.attempts(job_id)[-1].placement
    assert placement is not None
    return placement


def homes(kubeconfig: Path, uid: str) -> dict[str, list[str]]:
    """Return the nodes of a job's pods, by group."""
    found: dict[str, list[str]] = {}
    for pod in Kubectl(kubeconfig).get("pods", f"--selector=raysvc.dev/job={uid}")["items"]:
        group = pod["metadata"]["labels"]["ray.io/group"]
        found.setdefault(group, []).append(pod["spec"].get("nodeName", "none"))
    return {group: sorted(nodes) for group, nodes in found.items()}


def test_a_gang_takes_the_gpu_nodes_and_those_who_wait_are_told(client: raysvc.Client, kubeconfig: Path) -> None:
    jobs = client.jobs
    gang = jobs.submit(spec(HOLD, GANG))
    jobs.wait(gang.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
    assert homes(kubeconfig, gang.uid) == {"headgroup": ["system-1"], "train": sorted(GPU_NODES)}
    large = jobs.submit(spec(HOLD, {**GANG, "scale": {"min": 3, "want": 3, "max": 3}}))
    behind = jobs.submit(spec(DRIVER, resources={"gpus": 1}))
    # What is told of those who wait may be a second old.
    eventually(lambda: jobs.explain(behind.id).reason.code is ReasonCode.INSUFFICIENT_RESOURCES, 10)
    told = jobs.explain(large.id)
    assert told.reason.code is ReasonCode.EXCEEDS_CAPACITY
    assert "No pool has room for group 'train' (3 of 8 GPUs each), not even when idle." in told.summary
    assert jobs.wait(gang.id, RUN_S).phase is JobPhase.SUCCEEDED
    assert "GPUs 16.0" in "".join(jobs.logs(gang.id))
    jobs.wait(behind.id, RUN_S, until=lambda job: job.phase is not JobPhase.QUEUED)
    assert {*placed(client, behind.id).groups[0].nodes} <= GPU_NODES
    jobs.stop(behind.id)
    jobs.stop(large.id)


def test_a_driver_that_asks_for_a_gpu_runs_on_a_gpu_node(client: raysvc.Client, kubeconfig: Path) -> None:
    job = client.jobs.submit(spec(DRIVER, resources={"gpus": 1}))
    client.jobs.wait(job.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
    found = homes(kubeconfig, job.uid)
    ended = client.jobs.wait(job.id, RUN_S)
    log = "".join(client.jobs.logs(job.id))
    assert ended.phase is JobPhase.SUCCEEDED, log
    assert "driver has 0 of 1.0" in log
    assert found["headgroup"] == ["system-1"]
    assert {*found["driver"]} <= GPU_NODES


def test_ray_grows_a_group_from_none_to_two_and_back(client: raysvc.Client, kubeconfig: Path) -> None:
    group = {"name": "burst", "scale": {"min": 0, "want": 0, "max": 5}, "resources": {"gpus": 8}}
    job = client.jobs.submit(spec(ELASTIC, group))
    client.jobs.wait(job.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
    cluster = Kubectl(kubeconfig).get("rayclusters", f"--selector=raysvc.dev/job={job.uid}")["items"][0]
    (rendered,) = cluster["spec"]["workerGroupSpecs"]
    assert (rendered["minReplicas"], rendered["maxReplicas"]) == (0, 2), "no more than the pool has room for"
    assert placed(client, job.id).groups[0].most == len(GPU_NODES)
    ended = client.jobs.wait(job.id, RUN_S)
    log = "".join(client.jobs.logs(job.id))
    assert ended.phase is JobPhase.SUCCEEDED, log
    assert [line for line in log.splitlines() if line.startswith(("before", "worked", "after"))] == [
        "before 0",
        "worked on 2",
        "after 0",
    ]
