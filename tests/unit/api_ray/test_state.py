"""Ray's state calls, passed on with ids translated and secrets out."""

import io
from typing import Any

import httpx
import pytest

from raysvc.domain.job import Job
from raysvc.domain.job import JobPhase as P
from raysvc.domain.project import Role
from tests.unit.api_ray.cluster import SECRET, TOKEN, Ray
from tests.unit.api_ray.world import World

ENV = {"env_vars": {"HF_TOKEN": SECRET}}


def envelope(*rows: dict[str, Any]) -> dict[str, Any]:
    result = {"total": len(rows), "num_after_truncation": len(rows), "num_filtered": len(rows), "result": list(rows)}
    return {"result": True, "msg": "", "data": {"result": {**result, "partial_failure_warning": "", "warnings": None}}}


def row(name: str | None, **more: Any) -> dict[str, Any]:
    metadata = {"job_submission_id": name} if name else {}
    return {"submission_id": name, "type": "SUBMISSION", "metadata": metadata, "runtime_env": ENV, **more}


@pytest.fixture
async def job(client: httpx.AsyncClient, world: World) -> Job:
    """Return a job on its second attempt."""
    await client.post("/api/jobs/", json={"entrypoint": "x", "submission_id": "mine"})
    return await world.move("mine", P.STARTING, P.RUNNING, P.QUEUED, P.STARTING, P.RUNNING)


async def test_the_current_attempt_has_its_jobs_id_the_others_keep_their_own(
    client: httpx.AsyncClient, ray: Ray, job: Job
) -> None:
    names = [f"job-{job.uid}-2", f"job-{job.uid}-1", "raysubmit_by_hand", f"job-{'0' * 16}-1", None]
    ray.json["/api/v0/jobs"] = envelope(*map(row, names))
    reply = await client.get("/api/v0/jobs?detail=true&limit=100")
    rows = reply.json()["data"]["result"]["result"]
    assert [each["submission_id"] for each in rows] == ["mine", *names[1:]]
    assert rows[0]["metadata"]["job_submission_id"] == "mine"
    assert reply.json()["data"]["result"]["total"] == 5
    assert ray.last.url.query == b"detail=true&limit=100"
    assert SECRET not in reply.text


async def test_a_job_of_another_project_keeps_the_clusters_name(client: httpx.AsyncClient, ray: Ray, job: Job) -> None:
    ray.json["/api/v0/jobs"] = envelope(row(f"job-{job.uid}-2"))
    rows = (await client.get("/p/team-a/api/v0/jobs")).json()["data"]["result"]["result"]
    assert rows[0]["submission_id"] == f"job-{job.uid}-2"


async def test_filters_by_submission_id_are_translated(client: httpx.AsyncClient, ray: Ray, job: Job) -> None:
    ray.json["/api/v0/jobs"] = envelope()
    params: list[tuple[str, str | int | float | bool | None]] = [
        ("filter_keys", "status"),
        ("filter_keys", "submission_id"),
        ("filter_predicates", "="),
        ("filter_predicates", "="),
        ("filter_values", "mine"),
        ("filter_values", "mine"),
        ("detail", "True"),
    ]
    await client.get("/api/v0/jobs", params=params)
    sent = ray.last.url.params
    assert sent.get_list("filter_values") == ["mine", f"job-{job.uid}-2"]
    assert sent.get_list("filter_keys") == ["status", "submission_id"]
    await client.get("/api/v0/jobs", params={"filter_keys": "submission_id", "filter_values": "nope"})
    assert ray.last.url.params["filter_values"] == "nope"


@pytest.mark.parametrize(
    ("path", "upstream"),
    [
        ("/api/v0/tasks?limit=5", "/api/v0/tasks"),
        ("/api/v0/tasks/summarize", "/api/v0/tasks/summarize"),
        ("/nodes?view=summary", "/nodes"),
        ("/nodes/0a1b", "/nodes/0a1b"),
        ("/api/cluster_status?format=1", "/api/cluster_status"),
        ("/api/serve/applications/", "/api/serve/applications/"),
        ("/api/serve/applications", "/api/serve/applications/"),
        ("/p/default/api/v0/actors", "/api/v0/actors"),
    ],
)
async def test_reads_reach_the_cluster_under_its_own_token(
    client: httpx.AsyncClient, ray: Ray, path: str, upstream: str
) -> None:
    ray.json[upstream] = {"data": [{"runtime_env": ENV}], "path": upstream}
    reply = await client.get(path, headers={"Cookie": "a=b", "X-Ray-Authorization": "Bearer mine"})
    assert reply.json()["path"] == upstream
    assert SECRET not in reply.text
    assert "set-cookie" not in reply.headers
    assert (ray.last.headers["authorization"], ray.last.url.query.decode()) == (TOKEN, path.partition("?")[2])
    assert not {"cookie", "x-ray-authorization"} & set(ray.last.headers)
    assert ray.last.headers["sec-fetch-mode"] == "cors"  # so that Ray, too, hides secrets


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_but_reads_passes(client: httpx.AsyncClient, ray: Ray, method: str) -> None:
    for path in ("/api/v0/jobs", "/nodes", "/api/serve/applications/", "/api/cluster_status"):
        assert (await client.request(method, path)).status_code == 405
    assert ray.requests == []


@pytest.mark.parametrize("path", ["/api/v0/delay/100", "/api/v0/nothing", "/nodes/..%2fapi", "/api/v0/../jobs/x"])
async def test_other_paths_do_not_pass(client: httpx.AsyncClient, ray: Ray, path: str) -> None:
    assert (await client.get(path)).status_code == 404
    assert ray.requests == []


async def test_errors_come_in_the_envelope_that_the_state_client_reads(client: httpx.AsyncClient, ray: Ray) -> None:
    ray.away = True
    reply = await client.get("/api/v0/tasks")
    assert reply.status_code == 503
    assert reply.json()["result"] is False
    assert "does not answer" in reply.json()["msg"]
    missing = await client.get("/api/v0/tasks", headers={"Authorization": ""})
    assert (missing.status_code, missing.headers["content-type"]) == (401, "text/plain; charset=utf-8")


async def test_an_answer_that_is_no_list_is_told_of(client: httpx.AsyncClient, ray: Ray) -> None:
    ray.json["/api/v0/jobs"] = {"result": False, "msg": "no", "data": {}}
    assert (await client.get("/api/v0/jobs")).json()["msg"] == "no"
    ray.json["/api/v0/jobs"] = ["what"]
    assert (await client.get("/api/v0/jobs")).status_code == 503


async def test_a_member_of_another_project_is_told_why_not(client: httpx.AsyncClient, world: World, job: Job) -> None:
    assert job.project == "default"
    reply = await client.get("/api/v0/tasks", headers=await world.bearer(Role.MEMBER, "team-a"))
    assert reply.status_code == 403
    assert "also holds jobs of 1 other project" in reply.text


async def test_a_projects_own_member_reads_the_shared_cluster(
    client: httpx.AsyncClient, world: World, ray: Ray
) -> None:
    ray.json["/api/v0/nodes"] = envelope()
    reply = await client.get("/api/v0/nodes", headers=await world.bearer(Role.VIEWER, "team-a"))
    assert reply.status_code == 200


async def test_log_files_of_the_cluster_are_for_the_platforms_admin(
    client: httpx.AsyncClient, world: World, ray: Ray
) -> None:
    ray.raw["/api/v0/logs/file"] = ({"content-type": "text/plain"}, [b"raylet ", b"log"])
    path = "/api/v0/logs/file?node_id=0a&filename=raylet.out"
    assert (await client.get(path)).text == "raylet log"
    assert ray.open == 0
    for bearer in (await world.bearer(Role.MEMBER), await world.bearer(Role.ADMIN, "team-a")):
        assert (await client.get(path, headers=bearer)).status_code == 403


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "one €\ntwo\nthree"),
        ("&lines=-1", "one €\ntwo\nthree"),
        ("&lines=2", "two\nthree"),
        ("&lines=1", "three"),
        ("&lines=0", ""),
        ("&lines=50", "one €\ntwo\nthree"),
    ],
)
async def test_a_jobs_own_log_comes_from_the_archive(
    client: httpx.AsyncClient, world: World, ray: Ray, query: str, said: str
) -> None:
    await client.post("/api/jobs/", json={"entrypoint": "x", "submission_id": "mine"})
    job = await world.move("mine", P.STARTING, P.RUNNING)
    await world.write(job, "one €\ntwo\nthree".encode())
    viewer = await world.bearer(Role.VIEWER)
    reply = await client.get(f"/api/v0/logs/file?submission_id=mine{query}", headers=viewer)
    assert (reply.status_code, reply.text) == (200, said)
    assert ray.requests == []


async def test_a_jobs_log_is_followed_to_its_end_without_escapes(client: httpx.AsyncClient, world: World) -> None:
    await client.post("/api/jobs/", json={"entrypoint": "x", "submission_id": "mine"})
    job = await world.move("mine", P.STARTING, P.RUNNING)
    await world.write(job, b"\x1b[31mred\x1b[0m\n")
    await world.move("mine", P.SUCCEEDED)
    path = "/api/v0/logs/stream?submission_id=mine&filter_ansi_code=True"
    out = io.BytesIO()
    async with client.stream("GET", path) as reply:
        async for chunk in reply.aiter_bytes():
            out.write(chunk)
    assert out.getvalue() == b"red\n"
    assert (await client.get("/api/v0/logs/file?submission_id=nope")).text == "Job nope does not exist"
    assert (await client.get("/api/v0/logs/file?submission_id=mine&lines=x")).status_code == 400


async def test_a_drivers_id_leads_to_its_job(client: httpx.AsyncClient, ray: Ray, job: Job) -> None:
    ray.json["/api/jobs/02000000"] = {"type": "SUBMISSION", "submission_id": f"job-{job.uid}-2"}
    assert (await client.get("/api/jobs/02000000")).json()["submission_id"] == "mine"
    assert ray.last.headers["authorization"] == TOKEN
    assert (await client.get("/p/team-a/api/jobs/02000000")).status_code == 404
    ray.json["/api/jobs/03000000"] = {"type": "DRIVER", "submission_id": None}
    assert (await client.get("/api/jobs/03000000")).status_code == 404
    assert (await client.get("/api/jobs/04000000")).status_code == 404
    ray.away = True
    assert (await client.get("/api/jobs/02000000")).status_code == 404
