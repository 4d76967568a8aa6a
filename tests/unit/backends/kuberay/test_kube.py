"""What the API server refuses, in words that say what to do; and where it is found."""

from pathlib import Path

import pytest

from raysvc.backends.kuberay import KubeBackend, KubeConfig
from raysvc.backends.kuberay.connect import connect
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.observation import Seen
from raysvc.errors import AlreadyExists, Invalid, NotFound, Unavailable
from tests.contract.backend.lab import MemoryMaterials, SystemClock
from tests.unit.backends.kuberay.fake_api import JOBS, FakeApi
from tests.unit.backends.kuberay.scene import INSTANCE, Scene, job_of, ref_of, until

NO_RIGHT = (
    'rayjobs.ray.io is forbidden: User "system:serviceaccount:a:b" cannot create resource "rayjobs" in API group '
    '"ray.io" in the namespace "ns"'
)


@pytest.mark.parametrize(
    ("status", "said", "error", "words"),
    [
        (403, NO_RIGHT, Unavailable, "lacks a right.*create.*rayjobs.*doctor"),
        (403, "exceeded quota: small, requested: count/rayjobs=1", Invalid, "exceeded quota"),
        (400, 'admission webhook "no.gpu" denied the request: not on Fridays', Invalid, "not on Fridays"),
        (400, 'strict decoding error: unknown field "spec.preRunningDeadlineSeconds"', Invalid, "1.6 or newer"),
        (422, "spec.x: Invalid value", Invalid, "Invalid value"),
        (401, "Unauthorized", Unavailable, "Log in again"),
        (429, "too many requests", Unavailable, "429"),
        (500, "etcd leader changed", Unavailable, "etcd leader changed"),
        (504, "webhook timed out", Unavailable, "webhook timed out"),
    ],
)
@pytest.mark.usefixtures("kubeconfig")
async def test_a_refusal_says_what_to_do(
    fake: FakeApi, status: int, said: str, error: type[Exception], words: str
) -> None:
    connection = await connect(None, None)
    fake.refuse["POST", JOBS] = [(status, said)]
    try:
        with pytest.raises(error, match=words):
            await connection.kube.create(JOBS, {"metadata": {"name": "x"}})
    finally:
        await connection.kube.close()


@pytest.mark.usefixtures("kubeconfig")
async def test_there_or_not_there(fake: FakeApi) -> None:
    connection = await connect(None, None)
    try:
        assert await connection.kube.get(f"{JOBS}/x") is None
        with pytest.raises(NotFound):
            await connection.kube.must_get(f"{JOBS}/x")
        fake.put(JOBS, "x")
        with pytest.raises(AlreadyExists):
            await connection.kube.create(JOBS, {"metadata": {"name": "x"}})
        await connection.kube.delete(f"{JOBS}/x")
        await connection.kube.delete(f"{JOBS}/x")
    finally:
        await connection.kube.close()


@pytest.mark.usefixtures("kubeconfig")
async def test_a_context_that_does_not_exist_is_named() -> None:
    with pytest.raises(Invalid, match=r"no context 'prod'.*get-contexts") as caught:
        await connect("prod", None)
    assert caught.value.field == "context"


@pytest.mark.parametrize("content", ["", "[", "- a", "apiVersion: v1\n", "contexts: 3\ncurrent-context: a\n"])
async def test_a_kubeconfig_that_is_none_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    (tmp_path / "config").write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(Invalid, match="current context"):
        await connect(None, None)


@pytest.mark.usefixtures("kubeconfig")
async def test_the_namespace_is_the_contexts_unless_one_is_named() -> None:
    for named, expected in ((None, "ns"), ("other", "other")):
        connection = await connect("dev", named)
        assert (connection.namespace, connection.context, connection.inside) == (expected, "dev", False)
        await connection.kube.close()


async def test_without_kuberay_the_cluster_says_so(scene: Scene) -> None:
    scene.fake.refuse["GET", JOBS] = [(404, "the server could not find the requested resource")] * 1000
    scene.fake.cut()
    scene.fake.expired = True
    backend = KubeBackend(KubeConfig(data_dir=Path("/nowhere")), INSTANCE, MemoryMaterials(), SystemClock())
    await backend.start()
    try:
        cluster = await backend.clusters.get("kube")
        assert cluster.phase is ClusterPhase.STARTING
        assert cluster.reason
        assert "KubeRay is not installed" in cluster.reason.message
    finally:
        await backend.close()


async def test_the_cluster_has_what_its_nodes_can_give(scene: Scene) -> None:
    ready = [{"type": "Ready", "status": "True"}]
    amounts = {"cpu": "3920m", "memory": "16Gi", "nvidia.com/gpu": "8"}
    scene.fake.put("/api/v1/nodes", "a", spec={}, status={"allocatable": amounts, "conditions": ready})
    scene.fake.put("/api/v1/nodes", "b", spec={}, status={"allocatable": {"cpu": "2"}, "conditions": []})
    scene.fake.put("/api/v1/nodes", "c", spec={"unschedulable": True}, status={"allocatable": amounts})
    await until(lambda: scene.fake.watching == 3)
    cluster = await scene.backend.clusters.get("kube")
    assert (cluster.phase, cluster.nodes, cluster.reason) == (ClusterPhase.READY, 1, None)
    assert (cluster.resources.cpus, cluster.resources.gpus, cluster.resources.memory) == (3.92, 8, 16 << 30)
    assert cluster.max_running_jobs == 3
    with pytest.raises(NotFound):
        await scene.backend.clusters.get("local")


async def test_who_may_not_see_the_nodes_leaves_it_to_kubernetes_what_fits(scene: Scene) -> None:
    scene.fake.refuse["GET", "/api/v1/nodes"] = [(403, 'nodes is forbidden: User "u" cannot list resource "nodes"')]
    await until(lambda: scene.fake.watching == 3)
    cluster = await scene.backend.clusters.get("kube")
    assert cluster.phase is ClusterPhase.READY
    assert cluster.autoscaling is not None


async def test_before_and_after_there_is_a_connection_nothing_is_known(tmp_path: Path) -> None:
    backend = KubeBackend(KubeConfig(data_dir=tmp_path), INSTANCE, MemoryMaterials(), SystemClock())
    job = job_of()
    assert (await backend.jobs.observe(ref_of(job))).seen is Seen.UNKNOWN
    with pytest.raises(Unavailable):
        await backend.jobs.apply(job)
    await backend.close()
