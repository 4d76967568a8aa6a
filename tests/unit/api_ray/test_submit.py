"""POST /api/jobs: taken, refused, and repeated, in the words Ray's clients know."""

import asyncio
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY as _DEFAULT

from raysvc.control.metric import REGISTRY
from raysvc.domain.project import Limits, Project, Role
from tests.unit.api_ray.world import World

JOB = {"entrypoint": "echo hello"}


async def submit(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/api/jobs/", json={**JOB, **body})


async def test_the_reply_has_exactly_the_two_keys_that_the_client_takes(client: httpx.AsyncClient) -> None:
    reply = await submit(client)
    assert reply.status_code == 200
    assert list(reply.json()) == ["job_id", "submission_id"]
    assert reply.json()["job_id"] == reply.json()["submission_id"]
    assert reply.json()["submission_id"].startswith("raysubmit_")


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/", "/p/default/api/jobs", "/p/default/api/jobs/"])
async def test_both_forms_and_both_bases_take_a_job_without_a_redirect(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.post(path, json=JOB)).status_code == 200


@pytest.mark.parametrize("field", ["submission_id", "job_id"])
async def test_an_id_of_the_clients_own_is_kept(client: httpx.AsyncClient, world: World, field: str) -> None:
    assert (await submit(client, **{field: "my.job-1"})).json()["submission_id"] == "my.job-1"
    assert (await world.job("my.job-1")).owner == "ada"


async def test_what_is_sent_as_null_counts_as_not_sent(client: httpx.AsyncClient) -> None:
    assert (await submit(client, runtime_env=None, submission_id=None, entrypoint_num_cpus=None)).status_code == 200


async def test_a_duplicate_id_is_a_500_with_the_phrase_that_kuberay_looks_for(client: httpx.AsyncClient) -> None:
    await submit(client, submission_id="twice")
    reply = await submit(client, submission_id="twice")
    assert reply.status_code == 500
    assert reply.text == "Job with submission_id twice already exists. Please use a different submission_id."
    assert reply.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"entrypoint": 3}, "entrypoint must be a string"),
        ({}, "missing 1 required positional argument: 'entrypoint'"),
        ({**JOB, "queue": "gpu"}, "unexpected keyword argument 'queue'"),
        ({**JOB, "metadata": {"a": 1}}, "metadata values must be strings"),
        ({**JOB, "metadata": {"raysvc.prio": "1"}}, "raysvc.prio"),
        ({**JOB, "runtime_env": "x"}, "runtime_env must be a dict"),
        ({**JOB, "entrypoint_num_cpus": "2"}, "entrypoint_num_cpus must be a number"),
        ({**JOB, "entrypoint_num_gpus": -1}, "entrypoint_num_gpus"),
        ({**JOB, "submission_id": "a/b"}, "submission_id"),
        ({**JOB, "submission_id": "x" * 300}, "submission_id"),
        ([1], "JSON object"),
        ("text", "JSON object"),
    ],
)
async def test_a_bad_body_is_a_400_that_names_the_field(client: httpx.AsyncClient, body: Any, said: str) -> None:
    reply = await client.post("/api/jobs/", json=body)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert said in reply.text


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000, b'{"entrypoint": "a\\u0000b"}', b'{"a": NaN}'])
async def test_what_is_no_json_is_a_400(client: httpx.AsyncClient, raw: bytes) -> None:
    reply = await client.post("/api/jobs/", content=raw)
    assert reply.status_code == 400
    assert reply.headers["content-type"].startswith("text/plain")


async def test_the_same_idempotency_key_in_the_metadata_gives_the_same_job(client: httpx.AsyncClient) -> None:
    body = {"metadata": {"raysvc.idempotency_key": "k1"}}
    replies = await asyncio.gather(*(submit(client, **body) for _ in range(5)))
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.json()["submission_id"] for reply in replies}) == 1
    other = await submit(client, entrypoint="echo other", **body)
    assert other.status_code == 409
    assert "k1" in other.text


async def test_the_key_may_be_a_header_but_not_two_different_ones(client: httpx.AsyncClient) -> None:
    first = await client.post("/api/jobs/", json=JOB, headers={"Idempotency-Key": "h1"})
    again = await client.post("/api/jobs/", json=JOB, headers={"Idempotency-Key": "h1"})
    assert first.json() == again.json()
    both = {**JOB, "metadata": {"raysvc.idempotency_key": "h2"}}
    assert (await client.post("/api/jobs/", json=both, headers={"Idempotency-Key": "h1"})).status_code == 400
    assert (await client.post("/api/jobs/", json=both, headers={"Idempotency-Key": "h2"})).status_code == 200
    assert (await client.post("/api/jobs/", json=JOB, headers={"Idempotency-Key": "x" * 300})).status_code == 400


async def test_a_policys_refusal_is_a_422_with_its_rule_and_text(client: httpx.AsyncClient) -> None:
    reply = await submit(client, metadata={"raysvc.label.deny": "not on a Friday"})
    assert reply.status_code == 422
    assert reply.text == "Policy house, rule no-fun: not on a Friday"


async def test_a_policys_warning_is_a_header(client: httpx.AsyncClient) -> None:
    reply = await submit(client, metadata={"raysvc.label.warn": "slöw⏎queue → here"})
    assert reply.status_code == 200
    assert reply.headers["X-Raysvc-Warning"] == "policy house, rule slow: slöw queue ? here"


async def test_a_full_queue_is_a_429(client: httpx.AsyncClient, world: World) -> None:
    limits = Limits(max_queued_jobs=1)
    await world.store.projects.put(Project(name="default", limits=limits, created_at=world.clock.now()))
    assert (await submit(client)).status_code == 200
    reply = await submit(client)
    assert reply.status_code == 429
    assert "max_queued_jobs" in reply.text


async def test_a_secret_that_is_not_there_is_a_400(client: httpx.AsyncClient) -> None:
    reply = await submit(client, runtime_env={"env_vars": {"T": "${secret:HF_TOKEN}"}})
    assert reply.status_code == 400
    assert "HF_TOKEN" in reply.text


async def test_a_package_that_is_not_there_is_told_before_the_job_is_taken(client: httpx.AsyncClient) -> None:
    reply = await submit(client, runtime_env={"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"})
    assert reply.status_code == 404
    assert (await client.get("/api/jobs/")).json() == []


async def test_a_store_that_is_away_is_a_503(client: httpx.AsyncClient, world: World) -> None:
    await submit(client)  # so that the token is known for a moment
    await world.store.close()
    reply = await submit(client)
    assert reply.status_code == 503
    assert reply.headers["content-type"].startswith("text/plain")


async def test_a_viewer_may_not_submit_and_is_told_by_403(client: httpx.AsyncClient, world: World) -> None:
    reply = await client.post("/api/jobs/", json=JOB, headers=await world.bearer(Role.VIEWER))
    assert reply.status_code == 403
    assert "member" in reply.text


async def test_submissions_are_counted_by_outcome(client: httpx.AsyncClient) -> None:
    def count(outcome: str) -> float:
        return REGISTRY.get_sample_value("raysvc_submits_total", {"outcome": outcome}) or 0

    assert REGISTRY is not _DEFAULT
    outcomes = ("accepted", "denied", "already_exists")
    before = [count(outcome) for outcome in outcomes]
    await submit(client, submission_id="once")
    await submit(client, submission_id="once")
    await submit(client, metadata={"raysvc.label.deny": "no"})
    assert [count(outcome) for outcome in outcomes] == [number + 1 for number in before]
