"""Clusters that jobs share, and jobs on them, on a fake API server. With the real operator: `tests/kube`."""

import base64
from pathlib import Path
from typing import Any

import pytest

from raysvc.backends.kuberay.config import KubeConfig
from raysvc.backends.kuberay.host_manifest import changes, rendered
from raysvc.domain.cluster import ClusterPhase, ClusterSpec, NewCluster, NewScale, SharedCluster, create, scale
from raysvc.domain.job import Attempt, Job
from raysvc.domain.observation import Seen
from raysvc.domain.reason import ReasonCode
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.errors import Invalid, NotFound, Unavailable
from tests.contract.backend.lab import SystemClock
from tests.unit.backends.kuberay.fake_api import CLUSTERS, POLICIES, SECRETS, TOKEN
from tests.unit.backends.kuberay.scene import INSTANCE, Scene, job_of, ref_of, until

UID = "01k0000000000001"
NAME = f"cluster-{UID}"
GROUP = WorkerGroup(name="gpu", scale=Scale(min=0, want=0, max=4), resources=Resources(cpus=8, gpus=1))
SPEC = ClusterSpec(shape=Shape(workers=(GROUP,)), max_running_jobs=2, idle_ttl_s=90)
STANDS = {"conditions": [{"type": "HeadPodReady", "status": "True"}], "head": {"serviceName": f"{NAME}-head-svc"}}
ASLEEP = {"conditions": [{"type": "RayClusterSuspended", "status": "True"}]}


def cluster(phase: ClusterPhase = ClusterPhase.STARTING, **fields: Any) -> SharedCluster:
    now = SystemClock().now()
    made, _ = create(NewCluster(name="lab", spec=SPEC), uid=UID, project="default", owner="ada", now=now)
    return made.model_copy(update={"phase": phase, **fields})


def guest(entrypoint: str = "python train.py", **spec: Any) -> Job:
    job = job_of(entrypoint, cluster="lab", **spec)
    made = Attempt(job=job.uid, number=1, cluster="lab", created_at=job.created_at, on=UID)
    return job.model_copy(update={"attempts": (made,)})


async def standing(scene: Scene) -> None:
    """Make the cluster, and let the operator bring it up."""
    await until(lambda: scene.fake.watching == 3)
    await scene.backend.shared.apply(cluster())
    token = {"auth_token": base64.b64encode(TOKEN.encode()).decode()}
    scene.fake.put(SECRETS, NAME, data=token)
    scene.fake.put(CLUSTERS, NAME, status=STANDS)
    await seen(scene, Seen.RUNNING)


async def seen(scene: Scene, wanted: Seen, record: SharedCluster | None = None) -> None:
    for _ in range(200):
        if (await scene.backend.shared.observe(record or cluster())).seen is wanted:
            return
        await SystemClock().sleep(0.05)
    raise AssertionError(f"not {wanted}")


def test_it_is_guarded_and_grows_by_itself() -> None:
    policy, made = rendered(cluster(), KubeConfig(data_dir=Path("/nowhere")), INSTANCE).documents
    labels, spec = made["metadata"]["labels"], made["spec"]
    assert (made["kind"], made["metadata"]["name"], spec["suspend"]) == ("RayCluster", NAME, False)
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert (spec["authOptions"], spec["enableInTreeAutoscaling"]) == ({"mode": "token"}, True)
    assert (spec["autoscalerOptions"]["version"], spec["autoscalerOptions"]["idleTimeoutSeconds"]) == ("v2", 90)
    [group] = spec["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"], group["maxReplicas"]) == (0, 0, 4)
    # 2 GiB of its own, and one for each driver.
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert head["memory"] in {"4096Mi", "4Gi"}


def test_only_sleep_and_bounds_are_ever_changed_and_each_by_its_name() -> None:
    _, made = rendered(cluster(), KubeConfig(data_dir=Path("/nowhere")), INSTANCE).documents
    assert changes(made, cluster()) == []
    moved = {**made["spec"]["workerGroupSpecs"][0], "replicas": 3}
    made = {**made, "spec": {**made["spec"], "workerGroupSpecs": [moved]}}
    assert changes(made, cluster()) == []  # the autoscaler's own
    wider, _ = scale(cluster(), NewScale(min=1, max=9), SystemClock().now(), actor="ada")
    assert changes(made, wider) == [
        {"op": "test", "path": "/spec/workerGroupSpecs/0/groupName", "value": "gpu"},
        {"op": "add", "path": "/spec/workerGroupSpecs/0/minReplicas", "value": 1},
        {"op": "add", "path": "/spec/workerGroupSpecs/0/maxReplicas", "value": 9},
    ]
    asleep = cluster(ClusterPhase.SUSPENDED)
    assert changes(made, asleep) == [{"op": "add", "path": "/spec/suspend", "value": True}]


async def test_it_is_made_changed_suspended_and_removed(scene: Scene) -> None:
    await standing(scene)
    await scene.backend.shared.apply(cluster())
    assert [uid async for uid in scene.backend.shared.owned()] == [UID]
    await scene.backend.shared.apply(cluster(ClusterPhase.STOPPING))
    assert scene.fake.objects[f"{CLUSTERS}/{NAME}"]["spec"]["suspend"] is True
    await seen(scene, Seen.PENDING)
    scene.fake.put(CLUSTERS, NAME, status=ASLEEP)
    await seen(scene, Seen.STOPPED)
    await scene.backend.shared.delete(NAME, UID)
    await scene.backend.shared.delete(NAME, UID)
    await seen(scene, Seen.ABSENT)
    assert (scene.fake.names(CLUSTERS), scene.fake.names(POLICIES)) == ([], [])


async def test_what_others_made_is_never_touched_unless_it_is_adopted(scene: Scene) -> None:
    await until(lambda: scene.fake.watching == 3)
    group = {"groupName": "w", "replicas": 1, "minReplicas": 1, "maxReplicas": 2, "template": {}}
    scene.fake.put(CLUSTERS, "by-hand", spec={"workerGroupSpecs": [group]}, status={})
    scene.fake.put(CLUSTERS, "of-a-job", metadata={"ownerReferences": [{"kind": "RayJob"}]}, spec={})
    [found] = await scene.backend.shared.foreign()
    assert (found.cluster.name, found.cluster.owner, found.spec.workers.max) == ("by-hand", "foreign", 2)
    scene.fake.put(CLUSTERS, NAME, spec={})
    with pytest.raises(Invalid, match="not ours"):
        await scene.backend.shared.apply(cluster())
    await scene.backend.shared.delete("by-hand", UID)
    assert set(scene.fake.names(CLUSTERS)) == {"by-hand", "of-a-job", NAME}
    adopted = cluster(adopted="by-hand", spec=found.spec)
    await scene.backend.shared.apply(adopted)
    labels = scene.fake.objects[f"{CLUSTERS}/by-hand"]["metadata"]["labels"]
    assert labels["raysvc.dev/cluster"] == UID
    await scene.backend.shared.delete("by-hand", "01k0000000000002")  # another project's, that adopted it in vain
    assert "by-hand" in scene.fake.names(CLUSTERS)
    assert [it.cluster.name for it in await scene.backend.shared.foreign()] == [NAME]
    with pytest.raises(NotFound, match="gone"):
        await scene.backend.shared.apply(cluster(adopted="nobodys"))


async def test_a_job_goes_to_the_clusters_own_ray(scene: Scene) -> None:
    await standing(scene)
    job = guest()
    await scene.see(job, Seen.ABSENT)
    await scene.backend.jobs.apply(job)
    sent = scene.fake.ray_jobs[ref_of(job).name]["sent"]
    assert sent["entrypoint"].endswith("\npython train.py")
    assert job.uid in sent["runtime_env"]["env_vars"]["RAYSVC_CHECKPOINT_DIR"]
    assert scene.fake.names(CLUSTERS) == [NAME]  # none of its own
    scene.fake.ray_jobs[ref_of(job).name]["status"] = "RUNNING"
    await scene.see(job, Seen.RUNNING)
    await scene.backend.jobs.stop(ref_of(job))
    await scene.see(job, Seen.STOPPED)


async def test_a_job_waits_while_its_cluster_does_not_stand_and_is_gone_with_it(scene: Scene) -> None:
    await until(lambda: scene.fake.watching == 3)
    job = guest()
    await scene.backend.shared.apply(cluster())
    with pytest.raises(Unavailable):
        await scene.backend.jobs.apply(job)
    await scene.see(job, Seen.UNKNOWN)
    await scene.backend.shared.delete(NAME, UID)
    await scene.see(job, Seen.ABSENT)


def test_an_image_is_the_clusters_own(scene: Scene) -> None:
    with pytest.raises(Invalid, match="own image"):
        scene.backend.jobs.render(guest(code={"kind": "image", "image": "x:1"}))


async def test_a_quota_that_refuses_pods_is_told(scene: Scene) -> None:
    await until(lambda: scene.fake.watching == 3)
    await scene.backend.shared.apply(cluster())
    events = "/api/v1/namespaces/ns/events"
    scene.fake.put(events, "e", reason="FailedToCreateHeadPod", message="exceeded quota: small", lastTimestamp="1")
    found = await scene.backend.shared.observe(cluster())
    assert (found.seen, found.cause) == (Seen.PENDING, ReasonCode.PODS_REFUSED)


async def test_one_that_is_made_anew_is_spoken_to_with_its_own_token(scene: Scene) -> None:
    await standing(scene)
    await scene.see(guest(), Seen.ABSENT)
    scene.fake.remove(CLUSTERS, NAME)
    await seen(scene, Seen.ABSENT)
    await scene.backend.shared.apply(cluster())
    scene.fake.put(SECRETS, NAME, data={"auth_token": base64.b64encode(b"another").decode()})
    scene.fake.put(CLUSTERS, NAME, status=STANDS)
    await seen(scene, Seen.RUNNING)
    await scene.see(guest(), Seen.ABSENT)
    assert scene.fake.ray_headers[-1]["x-ray-authorization"] == "Bearer another"


@pytest.mark.parametrize(
    "odd", [{"minReplicas": -1}, {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "-1"}}}]}}}]
)
async def test_one_of_others_that_none_of_ours_could_be_hides_no_other(scene: Scene, odd: dict[str, Any]) -> None:
    scene.fake.put(CLUSTERS, "odd", spec={"workerGroupSpecs": [{"groupName": "w", **odd}]})
    scene.fake.put(CLUSTERS, "plain", spec={})
    assert [it.cluster.name for it in await scene.backend.shared.foreign()] == ["plain"]
