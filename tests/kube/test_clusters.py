"""A cluster that jobs share, through the real operator: made, used, suspended, woken, scaled, adopted, deleted."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import raysvc
from raysvc.backends.kuberay import KubeBackend
from raysvc.domain.cluster import ClusterPhase, ClusterSpec, NewCluster, NewScale, SharedCluster, create, scale
from raysvc.domain.job import JobPhase
from raysvc.domain.model import make_uid
from raysvc.domain.observation import Seen
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.errors import Conflict, NotFound
from raysvc.ports import SharedClusters
from tests.cluster import programs
from tests.contract.backend.lab import Lab
from tests.kube.server import KubeServer
from tests.real.platform_process import eventually

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]
RUN_S = 400.0
WORKER = Resources(cpus=1, gpus=1, memory=1 << 30)
PROGRAM = """python -c '
import ray
ray.init(log_to_driver=False)
print("said", ray.get(ray.remote(num_gpus=1)(lambda: 6 * 7).remote()), flush=True)
'"""
SPEC = ClusterSpec(
    shape=Shape(workers=(WorkerGroup(scale=Scale(min=0, want=0, max=1), resources=WORKER),)),
    max_running_jobs=1,
    suspend_ttl_s=15,
)


@pytest.fixture
def server(tmp_path: Path, kubeconfig: Path, ray_image: str) -> Iterator[KubeServer]:
    server = KubeServer(tmp_path / "data", kubeconfig, ray_image)
    yield server
    server.end(signal.SIGTERM)


class Kubectl:
    """What Kubernetes itself has, asked as the cluster's admin."""

    def __init__(self, kubeconfig: Path, program: Path) -> None:
        self._command = (str(program), "--kubeconfig", str(kubeconfig))

    def get(self, *what: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(self.run("get", "-o", "json", *what))["items"]
        return items

    def run(self, *arguments: str, given: str | None = None) -> str:
        done = subprocess.run((*self._command, *arguments), input=given, capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture
def kubectl(kubeconfig: Path) -> Kubectl:
    return Kubectl(kubeconfig, programs.built().kubectl)


def phase(client: raysvc.Client, name: str, wanted: ClusterPhase) -> None:
    """Wait until the cluster is in that phase."""
    eventually(lambda: client.clusters.get(name).phase is wanted, RUN_S)


def test_a_shared_cluster_wakes_for_its_jobs_and_sleeps_without_them(server: KubeServer, kubectl: Kubectl) -> None:
    with server.start() as client:
        made = client.clusters.create(NewCluster(name="lab", spec=SPEC))
        mine = f"raysvc.dev/cluster={made.uid}"
        first = client.jobs.submit({"entrypoint": PROGRAM, "cluster": "lab"})
        ended = client.jobs.wait(first.id, RUN_S)
        log = "".join(client.jobs.logs(first.id))
        assert (ended.phase, ended.cluster, log.splitlines()[-1:]) == (JobPhase.SUCCEEDED, "lab", ["said 42"]), log
        assert kubectl.get("rayjobs") == []

        phase(client, "lab", ClusterPhase.SUSPENDED)
        assert kubectl.get("pods", "-l", mine) == []
        server.end(signal.SIGKILL)

    with server.start() as client:
        long = client.jobs.submit({"entrypoint": "sleep 600", "cluster": "lab"})
        client.jobs.wait(long.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
        client.clusters.scale("lab", NewScale(min=0, max=2))
        eventually(lambda: _most(kubectl.get("rayclusters", "-l", mine)) == 2, 30)
        with pytest.raises(Conflict, match="1 job"):
            client.clusters.delete("lab")
        client.clusters.delete("lab", force=True)
        assert client.jobs.wait(long.id, RUN_S).phase is JobPhase.CANCELLED
        eventually(lambda: not kubectl.get("rayclusters,networkpolicies,pods", "-l", mine), 60)
        with pytest.raises(NotFound):
            client.clusters.get("lab")


@pytest.mark.asyncio(loop_scope="session")
async def test_bounds_are_moved_and_what_others_made_is_left_alone_until_it_is_adopted(
    lab: Lab, kubectl: Kubectl, ray_image: str
) -> None:
    """On clusters that sleep: no pod is needed to see what is sent, and what the operator makes of it."""
    shared = cast("KubeBackend", lab.backend).shared
    asleep = _record("lab", SPEC, lab)
    await shared.apply(asleep)
    await _seen(lab, shared, asleep, Seen.STOPPED)
    wider, _ = scale(asleep, NewScale(min=1, max=3), lab.clock.now(), actor="ada")
    for _ in range(2):
        await shared.apply(wider)
        assert _most(kubectl.get("rayclusters", "-l", f"raysvc.dev/cluster={asleep.uid}")) == 3

    head = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head", "image": ray_image}]}}}
    theirs = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "by-hand"}}
    kubectl.run("create", "-f", "-", given=json.dumps({**theirs, "spec": {"suspend": True, "headGroupSpec": head}}))
    [found] = await shared.foreign()
    assert (found.cluster.name, found.cluster.owner) == ("by-hand", "foreign")
    await shared.delete("by-hand", asleep.uid)  # it is not ours
    adopted = _record("by-hand", found.spec, lab, adopted="by-hand")
    await shared.apply(adopted)
    await _seen(lab, shared, adopted, Seen.STOPPED)
    assert await shared.foreign() == []
    for record in (asleep, adopted):
        await shared.delete(record.object_name, record.uid)
        await _seen(lab, shared, record, Seen.ABSENT)
    assert [uid async for uid in shared.owned()] == []


def _record(name: str, spec: ClusterSpec, lab: Lab, *, adopted: str | None = None) -> SharedCluster:
    now = lab.clock.now()
    uid = make_uid(int(now.timestamp() * 1000), len(name))
    made, _ = create(
        NewCluster(name=name, spec=spec), uid=uid, project="default", owner="ada", now=now, adopted=adopted
    )
    return made.model_copy(update={"phase": ClusterPhase.SUSPENDED})


async def _seen(lab: Lab, shared: SharedClusters, record: SharedCluster, wanted: Seen) -> None:
    async def look() -> bool | None:
        return (await shared.observe(record)).seen is wanted or None

    await lab.until(look, 60)


def _most(ray_clusters: list[dict[str, Any]]) -> int:
    return int(ray_clusters[0]["spec"]["workerGroupSpecs"][0]["maxReplicas"])
