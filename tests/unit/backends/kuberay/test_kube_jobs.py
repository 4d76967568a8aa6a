"""The driver, one fault at a time: what is sent, in which order, and what comes of a crash between any two steps."""

import asyncio
import json

import pytest

from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode
from raysvc.errors import Invalid, NotFound, Unavailable
from tests.unit.backends.kuberay import fake_api as api
from tests.unit.backends.kuberay.scene import INSTANCE, Scene, job_of, ref_of, until

PACKAGE = "_ray_pkg_0123456789abcdef.zip"


async def test_an_attempt_is_made_then_handed_over_and_ends_as_ray_says(scene: Scene) -> None:
    scene.materials.packages["default", PACKAGE] = b"a zip"
    job = job_of(runtime_env={"working_dir": f"gcs://{PACKAGE}"})
    name = await scene.waiting(job)
    assert scene.fake.objects[f"{api.JOBS}/{name}"]["spec"].get("jobId") is None
    await scene.backend.jobs.apply(job)
    assert list(scene.fake.packages.values()) == [b"a zip"]
    sent = scene.fake.ray_jobs[name]["sent"]
    assert sent["submission_id"] == name
    assert sent["runtime_env"]["working_dir"] == f"gcs://{next(iter(scene.fake.packages))}"
    assert scene.fake.objects[f"{api.JOBS}/{name}"]["spec"]["jobId"] == name
    scene.fake.ray_jobs[name] |= {"status": "SUCCEEDED", "driver_exit_code": 0, "driver_node_id": "n1"}
    scene.fake.status(name, "Complete", jobStatus="SUCCEEDED")
    seen = await scene.see(job, Seen.SUCCEEDED)
    assert (seen.exit_code, seen.node) == (0, "n1")


async def test_to_kubernetes_goes_our_token_and_to_ray_its_own(scene: Scene) -> None:
    await scene.going(job_of())
    assert {headers["x-ray-authorization"] for headers in scene.fake.ray_headers} == {f"Bearer {api.TOKEN}"}
    assert {headers["authorization"] for headers in scene.fake.ray_headers} == {"Bearer ours"}


async def test_what_is_rendered_is_what_is_sent(scene: Scene) -> None:
    job = job_of()
    await scene.backend.jobs.apply(job)
    name = ref_of(job).name
    for document in scene.backend.jobs.render(job).documents[:2]:
        folder = api.JOBS if document["kind"] == "RayJob" else api.POLICIES
        found = scene.fake.objects[f"{folder}/{name}"]
        assert {key: found[key] for key in document if key != "metadata"} == {
            key: document[key] for key in document if key != "metadata"
        }
        assert document["metadata"].items() <= found["metadata"].items()


@pytest.mark.parametrize(
    "step", [("POST", api.POLICIES), ("POST", api.SECRETS), ("POST", api.JOBS), ("PATCH", api.SECRETS)]
)
async def test_a_failure_at_any_step_of_the_making_is_made_good_by_the_next_apply(
    scene: Scene, step: tuple[str, str]
) -> None:
    scene.materials.secrets["default", "WORD"] = "mellon"
    job = job_of(secrets={"PASSWORD": "WORD"})
    scene.fake.refuse[step] = [(500, "etcd is busy")]
    with pytest.raises(Unavailable, match="etcd is busy"):
        await scene.backend.jobs.apply(job)
    await scene.waiting(job)
    await scene.backend.jobs.apply(job)
    name = ref_of(job).name
    owner = scene.fake.objects[f"{api.JOBS}/{name}"]["metadata"]["uid"]
    secret = scene.fake.objects[f"{api.SECRETS}/{name}"]
    assert secret["stringData"] == {"PASSWORD": "mellon"}
    assert [ref["uid"] for ref in secret["metadata"]["ownerReferences"]] == [owner]
    assert name in scene.fake.ray_jobs


async def test_a_server_that_died_after_the_submit_only_tells_the_operator(scene: Scene) -> None:
    job = job_of()
    name = await scene.waiting(job)
    scene.fake.refuse["PATCH", api.JOBS] = [(500, "etcd is busy")]
    with pytest.raises(Unavailable):
        await scene.backend.jobs.apply(job)
    first = scene.fake.ray_jobs[name]["sent"]
    scene.fake.ray_jobs[name]["sent"] = "kept"
    await scene.backend.jobs.apply(job)
    assert scene.fake.ray_jobs[name]["sent"] == "kept"
    assert first["submission_id"] == name
    assert scene.fake.objects[f"{api.JOBS}/{name}"]["spec"]["jobId"] == name


async def test_secrets_go_by_a_secret_and_by_nothing_else(scene: Scene) -> None:
    scene.materials.secrets["default", "WORD"] = "mellon"
    job = job_of(secrets={"PASSWORD": "WORD"}, runtime_env={"env_vars": {"URL": "user:${secret:WORD}@x", "A": "b"}})
    assert "mellon" not in json.dumps(scene.backend.jobs.render(job).model_dump())
    name = await scene.going(job)
    assert scene.fake.objects[f"{api.SECRETS}/{name}"]["stringData"] == {"PASSWORD": "mellon", "URL": "user:mellon@x"}
    assert "mellon" not in json.dumps(scene.fake.objects[f"{api.JOBS}/{name}"])
    assert "mellon" not in json.dumps(scene.fake.ray_jobs[name])
    assert scene.fake.ray_jobs[name]["sent"]["runtime_env"]["env_vars"]["A"] == "b"


async def test_a_secret_that_is_gone_is_named(scene: Scene) -> None:
    with pytest.raises(NotFound) as caught:
        await scene.backend.jobs.apply(job_of(secrets={"PASSWORD": "WORD"}))
    assert caught.value.field == "secrets"
    assert not scene.fake.names(api.JOBS)


async def test_a_rayjob_of_somebody_else_is_left_alone(scene: Scene) -> None:
    job = job_of()
    scene.fake.put(api.JOBS, ref_of(job).name, spec={"theirs": True})
    with pytest.raises(Invalid, match="not ours"):
        await scene.backend.jobs.apply(job)
    assert scene.fake.objects[f"{api.JOBS}/{ref_of(job).name}"]["spec"] == {"theirs": True}


async def test_while_its_cluster_is_made_it_is_pending_and_says_what_hinders(scene: Scene) -> None:
    job = job_of()
    await scene.backend.jobs.apply(job)
    scene.fake.status(ref_of(job).name, "Initializing")
    assert (await scene.see(job, Seen.PENDING)).cause is ReasonCode.PROVISIONING
    labels = scene.fake.objects[f"{api.JOBS}/{ref_of(job).name}"]["metadata"]["labels"]
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    scene.fake.put(api.PODS, "head", metadata={"labels": labels}, status={"conditions": [condition]})
    await until(lambda: scene.fake.watching == 3)
    seen = await scene.see(job, Seen.PENDING, cause=ReasonCode.UNSCHEDULABLE)
    assert message in seen.message


async def test_ray_that_has_forgotten_the_job_has_lost_it(scene: Scene) -> None:
    job = job_of()
    name = await scene.going(job)
    del scene.fake.ray_jobs[name]
    assert (await scene.see(job, Seen.ABSENT)).seen is Seen.ABSENT
    await scene.backend.jobs.stop(ref_of(job))
    assert not scene.fake.names(api.JOBS)


async def test_a_head_that_does_not_answer_moves_nothing(scene: Scene) -> None:
    job = job_of()
    await scene.going(job)
    scene.fake.ray_down = True
    assert "503" in (await scene.see(job, Seen.UNKNOWN)).message
    with pytest.raises(Unavailable):
        await scene.backend.jobs.stop(ref_of(job))


async def test_stop_before_the_job_is_on_ray_takes_the_cluster_away(scene: Scene) -> None:
    job = job_of()
    await scene.waiting(job)
    await scene.backend.jobs.stop(ref_of(job))
    await scene.see(job, Seen.ABSENT)
    assert not scene.fake.names(api.JOBS)
    assert not scene.fake.names(api.POLICIES)


async def test_stop_of_one_that_was_submitted_and_never_handed_over_does_both(scene: Scene) -> None:
    job = job_of()
    name = await scene.waiting(job)
    scene.fake.ray_jobs[name] = {"status": "RUNNING"}
    await scene.backend.jobs.stop(ref_of(job))
    assert scene.fake.ray_jobs[name]["status"] == "STOPPED"
    assert scene.fake.objects[f"{api.JOBS}/{name}"]["spec"]["jobId"] == name


async def test_stop_asks_ray_and_delete_removes_all(scene: Scene) -> None:
    job = job_of()
    name = await scene.going(job)
    await scene.backend.jobs.stop(ref_of(job))
    assert (await scene.see(job, Seen.STOPPED)).seen is Seen.STOPPED
    scene.fake.status(name, "Complete", jobStatus="STOPPED")
    await scene.backend.jobs.delete(ref_of(job))
    await scene.backend.jobs.delete(ref_of(job))
    assert await scene.backend.jobs.observe(ref_of(job)) == Observation(seen=Seen.ABSENT)
    assert not scene.fake.names(api.POLICIES)


async def test_the_cluster_of_an_ended_attempt_goes_when_the_operator_has_noted_the_end_and_not_before(
    scene: Scene,
) -> None:
    job = job_of()
    name = await scene.going(job)
    scene.fake.ray_jobs[name] |= {"status": "SUCCEEDED", "driver_exit_code": 0}
    seen = await scene.see(job, Seen.SUCCEEDED)
    await scene.backend.jobs.release(ref_of(job))
    assert scene.fake.names(api.CLUSTERS)
    scene.fake.status(name, "Complete", jobStatus="SUCCEEDED")
    await until(lambda: not scene.fake.names(api.CLUSTERS))
    scene.fake.ray_down = True
    assert await scene.backend.jobs.observe(ref_of(job)) == seen
    assert scene.fake.names(api.JOBS) == [name]


async def test_owned_is_what_bears_our_label_whatever_is_left_of_it(scene: Scene) -> None:
    mine, theirs, left = (ref_of(job_of()) for _ in range(3))
    scene.fake.put(api.JOBS, mine.name, metadata={"labels": {"raysvc.dev/instance": INSTANCE}})
    scene.fake.put(api.JOBS, theirs.name, metadata={"labels": {"raysvc.dev/instance": "another"}})
    scene.fake.put(api.SECRETS, left.name, metadata={"labels": {"raysvc.dev/instance": INSTANCE}})
    assert {ref async for ref in scene.backend.jobs.owned()} == {mine, left}


async def test_a_log_is_read_from_any_byte(scene: Scene) -> None:
    job = job_of()
    name = await scene.going(job)
    scene.fake.ray_logs[f"job-driver-{name}.log"] = b"one\ntwo\n"
    chunks = [chunk async for chunk in scene.backend.jobs.logs(ref_of(job), offset=4, follow=False)]
    assert b"".join(chunks) == b"two\n"


async def test_the_log_of_an_attempt_whose_cluster_is_gone_is_empty(scene: Scene) -> None:
    job = job_of()
    name = await scene.going(job)
    scene.fake.status(name, "Complete", jobStatus="SUCCEEDED")
    await scene.backend.jobs.release(ref_of(job))
    await until(lambda: not scene.fake.names(api.CLUSTERS))
    scene.fake.remove(api.SECRETS, f"{name}-abcde")
    assert [chunk async for chunk in scene.backend.jobs.logs(ref_of(job), offset=0, follow=False)] == []


async def test_who_watches_hears_of_each_change(scene: Scene) -> None:
    job = job_of()
    changes = scene.backend.jobs.changes()
    hint = asyncio.ensure_future(anext(aiter(changes)))
    await until(lambda: scene.fake.watching == 3)
    scene.fake.put(api.JOBS, ref_of(job).name, metadata={"labels": {"raysvc.dev/instance": INSTANCE}})
    assert await asyncio.wait_for(hint, 20) == ref_of(job)


async def test_a_package_that_is_too_large_for_ray_says_what_to_do(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysvc.backends.kuberay.handover.MAX_UPLOAD_BYTES", 3)
    scene.materials.packages["default", PACKAGE] = b"a zip"
    job = job_of(runtime_env={"working_dir": f"gcs://{PACKAGE}"})
    with pytest.raises(Invalid, match="takes at most"):
        await scene.backend.jobs.apply(job)
    assert not scene.fake.objects


async def test_a_package_that_is_gone_is_named_before_a_cluster_is_made(scene: Scene) -> None:
    with pytest.raises(NotFound) as caught:
        await scene.backend.jobs.apply(job_of(runtime_env={"working_dir": f"gcs://{PACKAGE}"}))
    assert caught.value.field == "packages"
    assert not scene.fake.objects
