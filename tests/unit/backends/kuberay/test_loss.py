"""A head that is gone takes its driver along, whatever KubeRay says; and nothing of it holds what others wait for."""

from datetime import UTC, datetime, timedelta

from raysvc.domain.observation import Seen
from raysvc.domain.reason import ReasonCode
from tests.unit.backends.kuberay import fake_api as api
from tests.unit.backends.kuberay.scene import INSTANCE, Scene, job_of, ref_of

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def head(scene: Scene, name: str, of: str, born: datetime, **more: str) -> None:
    """Be the operator: make the pod of a head."""
    _, uid, attempt = of.split("-")
    labels = {"raysvc.dev/instance": INSTANCE, "raysvc.dev/job": uid, "raysvc.dev/attempt": attempt}
    labels |= {"ray.io/node-type": "head"}
    scene.fake.put(api.PODS, name, metadata={"labels": labels, "creationTimestamp": born.isoformat(), **more})


async def test_a_head_younger_than_its_job_means_that_the_driver_is_gone(scene: Scene) -> None:
    job = job_of()
    name = await scene.going(job)
    head(scene, "old", name, BEGAN - timedelta(seconds=20))
    scene.fake.ray_down = True
    scene.fake.status(name, "Running", jobStatus="RUNNING", rayJobInfo={"startTime": BEGAN.isoformat()})
    await scene.see(job, Seen.UNKNOWN)
    head(scene, "new", name, BEGAN + timedelta(seconds=20))
    assert (await scene.backend.jobs.observe(ref_of(job))).seen is Seen.UNKNOWN
    head(scene, "old", name, BEGAN - timedelta(seconds=20), deletionTimestamp=BEGAN.isoformat())
    seen = await scene.see(job, Seen.FAILED, ReasonCode.CLUSTER_LOST)
    assert "new" in seen.message
    # Its log went along: nobody waits for the rest of it.
    assert [chunk async for chunk in scene.backend.jobs.logs(ref_of(job), offset=0, follow=True)] == []


async def test_its_cluster_goes_though_the_operator_never_notes_the_end(scene: Scene) -> None:
    job = job_of()
    name = await scene.going(job)
    await scene.backend.jobs.release(ref_of(job))
    assert scene.fake.objects[f"{api.JOBS}/{name}"]["spec"]["suspend"] is True
    scene.fake.status(name, "Suspended")
    await scene.backend.jobs.release(ref_of(job))
    await scene.backend.jobs.delete(ref_of(job))
    assert scene.fake.names(api.JOBS) == []
