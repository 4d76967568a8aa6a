"""Looking at jobs, stopping and deleting them."""

from typing import Any

import httpx
import pytest
from ray.dashboard.modules.job.pydantic_models import JobDetails

from raysvc.api.ray import job as job_module
from raysvc.domain.job import JobPhase as P
from raysvc.domain.project import Role
from raysvc.domain.reason import ReasonCode
from raysvc.errors import Unavailable
from tests.unit.api_ray.world import World

SENT = {
    "entrypoint": "echo hello",
    "submission_id": "j1",
    "runtime_env": {"env_vars": {"A": "b"}, "_ours": [1]},
    "metadata": {"raysvc.priority": "3", "team": "x"},
    "entrypoint_num_cpus": 0.5,
}


async def submitted(client: httpx.AsyncClient, **fields: Any) -> str:
    reply = await client.post("/api/jobs/", json={**SENT, **fields})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["submission_id"])


async def details(client: httpx.AsyncClient, job_id: str = "j1") -> dict[str, Any]:
    reply = await client.get(f"/api/jobs/{job_id}")
    assert reply.status_code == 200
    body: dict[str, Any] = reply.json()
    JobDetails(**body)  # what Ray's client does with it
    return body


async def test_a_queued_job_is_pending_and_says_its_place_and_why(client: httpx.AsyncClient) -> None:
    await submitted(client)
    body = await details(client)
    assert (body["status"], body["type"], body["submission_id"]) == ("PENDING", "SUBMISSION", "j1")
    assert body["message"].startswith("Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory")
    assert "Number 1 in line." in body["message"]
    assert body["raysvc"]["phase"] == "QUEUED"
    assert body["raysvc"]["queue_position"] == 1
    assert (body["runtime_env"], body["metadata"]) == (SENT["runtime_env"], SENT["metadata"])
    assert isinstance(body["start_time"], int)
    assert body["end_time"] is None


async def test_a_paused_queue_says_so_in_the_message(client: httpx.AsyncClient, world: World) -> None:
    await world.store.flags.put("admission_paused", "until the disk is swapped")
    await submitted(client)
    body = await details(client)
    assert "Admission is paused: until the disk is swapped" in body["message"]
    assert body["raysvc"]["reason"]["code"] == "ADMISSION_PAUSED"


async def test_a_starting_job_may_be_waiting_for_its_environment(client: httpx.AsyncClient, world: World) -> None:
    await submitted(client)
    await world.move("j1", P.STARTING)
    body = await details(client)
    assert body["status"] == "PENDING"
    assert "waiting for the runtime environment to be set up." in body["message"]


@pytest.mark.parametrize(
    ("phases", "status", "message"),
    [
        ((P.STARTING, P.RUNNING), "RUNNING", "Job is currently running."),
        ((P.STARTING, P.STOPPING), "PENDING", "Job has not started yet."),
        ((P.STARTING, P.RUNNING, P.STOPPING), "RUNNING", "Job is currently running. A stop was asked for."),
        ((P.STARTING, P.RUNNING, P.QUEUED), "PENDING", "Job has not started yet."),
        ((P.STARTING, P.RUNNING, P.SUCCEEDED), "SUCCEEDED", "Job finished successfully."),
        ((P.CANCELLED,), "STOPPED", "Job was intentionally stopped."),
        ((P.STARTING, P.RUNNING, P.FAILED), "FAILED", "The entrypoint failed."),
    ],
)
async def test_phases_in_rays_words(
    client: httpx.AsyncClient, world: World, phases: tuple[P, ...], status: str, message: str
) -> None:
    await submitted(client)
    await world.move("j1", *phases)
    body = await details(client)
    assert body["status"] == status
    assert body["message"].startswith(message)
    assert (body["end_time"] is None) is (status in {"PENDING", "RUNNING"})


async def test_a_failure_has_its_type_exit_code_and_text(client: httpx.AsyncClient, world: World) -> None:
    await submitted(client)
    job = await world.move("j1", P.STARTING, P.RUNNING)
    closed = job.with_attempt(exit_code=3, node="node-7")
    await world.move("j1", P.FAILED, message="Job entrypoint command failed with exit code 3", attempts=closed)
    body = await details(client)
    assert (body["error_type"], body["driver_exit_code"]) == ("JOB_ENTRYPOINT_COMMAND_ERROR", 3)
    assert body["message"] == "The entrypoint failed: Job entrypoint command failed with exit code 3"
    assert body["driver_node_id"] == "node-7"


@pytest.mark.parametrize(
    ("code", "error_type"),
    [
        (ReasonCode.RUNTIME_ENV_FAILED, "RUNTIME_ENV_SETUP_FAILURE"),
        (ReasonCode.START_TIMED_OUT, "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"),
        (ReasonCode.DRIVER_LOST, "JOB_SUPERVISOR_ACTOR_DIED"),
        (ReasonCode.TIMED_OUT, None),
    ],
)
async def test_error_types_are_rays_own(
    client: httpx.AsyncClient, world: World, code: ReasonCode, error_type: str | None
) -> None:
    await submitted(client)
    await world.move("j1", P.STARTING, P.FAILED, code=code)
    assert (await details(client))["error_type"] == error_type


@pytest.mark.parametrize("path", ["/api/jobs/j1", "/api/jobs/j1/", "/p/default/api/jobs/j1", "/p/default/api/jobs/j1/"])
async def test_a_job_is_found_at_both_forms_and_bases(client: httpx.AsyncClient, path: str) -> None:
    await submitted(client)
    assert (await client.get(path)).json()["submission_id"] == "j1"


@pytest.mark.parametrize("job_id", ["nope", "x" * 300, "a b", "%00", "..%2f..%2fetc", "-x", "ä", "%ff"])
@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("POST", "/stop"), ("DELETE", ""), ("GET", "/logs")])
async def test_an_id_that_is_not_there_is_a_404_in_rays_phrase(
    client: httpx.AsyncClient, job_id: str, method: str, tail: str
) -> None:
    reply = await client.request(method, f"/api/jobs/{job_id}{tail}")
    assert reply.status_code == 404
    if "%2f" not in job_id:
        assert reply.text.startswith("Job ")
        assert reply.text.endswith(" does not exist")


async def test_the_list_is_newest_first_and_says_when_it_is_cut(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        await submitted(client, submission_id=name)
        world.clock.advance(1)
    reply = await client.get("/api/jobs/")
    assert [job["submission_id"] for job in reply.json()] == ["c", "b", "a"]
    assert reply.headers["X-Raysvc-List-Limit"] == "1000"
    assert "X-Raysvc-List-Truncated" not in reply.headers
    monkeypatch.setattr(job_module, "MAX_LISTED", 2)
    cut = await client.get("/api/jobs")
    assert [job["submission_id"] for job in cut.json()] == ["c", "b"]
    assert cut.headers["X-Raysvc-List-Truncated"] == "true"


async def test_jobs_are_told_of_while_the_cluster_is_away(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_name: str) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(world.backend.clusters, "get", away)
    await submitted(client)
    [job] = (await client.get("/api/jobs/")).json()
    assert job["raysvc"]["reason"]["code"] == "WAITING"
    assert job["raysvc"]["queue_position"] is None


async def test_stopping_says_whether_there_was_anything_to_stop(client: httpx.AsyncClient, world: World) -> None:
    await submitted(client)
    assert (await client.post("/api/jobs/j1/stop")).json() == {"stopped": True}
    assert (await client.post("/api/jobs/j1/stop")).json() == {"stopped": True}
    assert (await world.job("j1")).stop_requested
    await world.move("j1", P.CANCELLED)
    assert (await client.post("/api/jobs/j1/stop/")).json() == {"stopped": False}


async def test_a_live_job_is_not_deleted_and_ray_says_it_so(client: httpx.AsyncClient, world: World) -> None:
    await submitted(client)
    reply = await client.delete("/api/jobs/j1")
    assert reply.status_code == 500
    assert reply.text == "Attempted to delete job 'j1', but it is in a non-terminal state PENDING."
    await world.move("j1", P.STARTING, P.RUNNING)
    assert "non-terminal state RUNNING." in (await client.delete("/api/jobs/j1")).text


async def test_a_deleted_job_is_gone_and_its_id_is_free(client: httpx.AsyncClient, world: World) -> None:
    await submitted(client)
    await world.move("j1", P.CANCELLED)
    assert (await client.delete("/api/jobs/j1")).json() == {"deleted": True}
    assert (await client.get("/api/jobs/j1")).status_code == 404
    assert (await client.get("/api/jobs/")).json() == []
    assert await submitted(client) == "j1"


async def test_a_viewer_looks_but_does_not_stop_or_delete(client: httpx.AsyncClient, world: World) -> None:
    await submitted(client)
    viewer = await world.bearer(Role.VIEWER)
    assert (await client.get("/api/jobs/j1", headers=viewer)).status_code == 200
    assert (await client.post("/api/jobs/j1/stop", headers=viewer)).status_code == 403
    await world.move("j1", P.CANCELLED)
    assert (await client.delete("/api/jobs/j1", headers=viewer)).status_code == 403


async def test_secret_references_stay_references(client: httpx.AsyncClient, world: World) -> None:
    await world.platform.vault.put("default", "HF_TOKEN", "hf_very_secret")
    await submitted(client, runtime_env={"env_vars": {"T": "${secret:HF_TOKEN}"}})
    body = await details(client)
    assert body["runtime_env"] == {"env_vars": {"T": "${secret:HF_TOKEN}"}}
    assert "hf_very_secret" not in str(body)


async def test_a_failure_inside_is_told_in_plain_text_and_logged(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(world.platform.desk, "get", broken)
    reply = await client.get("/api/jobs/j1")
    assert (reply.status_code, reply.headers["content-type"]) == (500, "text/plain; charset=utf-8")
    assert "a bug" not in reply.text
    assert "a bug" in capsys.readouterr().out
