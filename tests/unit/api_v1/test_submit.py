"""POST /v1/jobs and /v1/jobs:batch."""

from collections.abc import Sequence

import httpx
import pytest

from raysvc.domain.job import Job, JobPhase
from raysvc.domain.project import Limits, Project, Role
from raysvc.ports import Addition
from tests.unit.api_v1.world import World

SPEC = {"entrypoint": "python train.py", "labels": {"team": "nlp"}}


async def test_a_submitted_job_is_kept_and_told_in_full(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs", json={"spec": SPEC})
    body = reply.json()
    assert reply.status_code == 201
    assert reply.headers["location"] == f"/v1/jobs/{body['id']}?project=default"
    expected = "id uid project name phase reason attempt attempts spec owner created_at started_at finished_at"
    assert set(expected.split()) <= set(body)
    assert (body["phase"], body["reason"]["code"], body["attempts"], body["owner"]) == ("QUEUED", "WAITING", [], "ada")
    assert set(body["reason"]) == {"code", "title", "message"}
    kept = await world.job(body["id"])
    assert (kept.uid, kept.spec.labels) == (body["uid"], {"team": "nlp"})


async def test_an_id_and_a_project_may_be_named(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs?project=team-a", json={"spec": SPEC, "id": "mine"})
    assert (reply.status_code, reply.json()["project"]) == (201, "team-a")
    assert (await world.job("mine", "team-a")).phase is JobPhase.QUEUED


async def test_the_project_of_a_token_with_just_one_is_meant(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs", as_=await world.bearer(Role.MEMBER, "team-b"), json={"spec": SPEC})
    assert reply.json()["project"] == "team-b"


async def test_the_same_key_gives_the_same_job(world: World) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = await world.call("POST", "/v1/jobs", json={"spec": SPEC}, headers=key)
    again = await world.call("POST", "/v1/jobs", json={"spec": SPEC}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["uid"] == again.json()["uid"]


async def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    key = {"Idempotency-Key": "k-1"}
    await world.call("POST", "/v1/jobs", json={"spec": SPEC}, headers=key)
    other = await world.call("POST", "/v1/jobs", json={"spec": {"entrypoint": "x"}}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["", "a b", "ü", "x" * 256])
async def test_a_key_that_is_no_key_is_refused(world: World, key: str) -> None:
    raw = httpx.Headers([(b"Idempotency-Key", key.encode("latin-1"))])
    reply = await world.call("POST", "/v1/jobs", headers=raw, json={"spec": SPEC})
    assert (reply.status_code, reply.json()["field"]) == (400, "Idempotency-Key")


async def test_a_taken_id_is_a_conflict(world: World) -> None:
    await world.call("POST", "/v1/jobs", json={"spec": SPEC, "id": "mine"})
    again = await world.call("POST", "/v1/jobs", json={"spec": SPEC, "id": "mine"})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


async def test_a_dry_run_shows_what_would_be_sent_and_keeps_nothing(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs?dry_run=true", json={"spec": SPEC, "id": "mine"})
    body = reply.json()
    assert reply.status_code == 200
    document = body["rendered"]["documents"][0]
    assert (document["method"], document["body"]["entrypoint"]) == ("POST", "python train.py")
    assert body["job"]["phase"] == "QUEUED"
    assert (await world.call("GET", "/v1/jobs/mine")).status_code == 404


async def test_a_mistyped_dry_run_does_not_submit(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs?dry-run=true", json={"spec": SPEC})
    assert (reply.status_code, reply.json()["field"]) == (400, "dry-run")
    assert "did you mean 'dry_run'" in reply.json()["detail"]
    reply = await world.call("POST", "/v1/jobs?dry_run=perhaps", json={"spec": SPEC})
    assert (reply.status_code, reply.json()["field"]) == (400, "dry_run")
    assert (await world.call("GET", "/v1/jobs")).json()["items"] == []


async def test_a_policy_refuses_with_its_rule_and_its_words(world: World) -> None:
    spec = {**SPEC, "labels": {"deny": "not on a Friday"}}
    reply = await world.call("POST", "/v1/jobs", json={"spec": spec})
    assert (reply.status_code, reply.json()["rule"]) == (422, "house/no-fun")
    assert "not on a Friday" in reply.json()["detail"]


async def test_a_warning_is_in_the_body_and_in_a_header(world: World) -> None:
    spec = {**SPEC, "labels": {"warn": "this is⏎slow – really"}}
    reply = await world.call("POST", "/v1/jobs", json={"spec": spec})
    assert reply.status_code == 201
    assert "this is\nslow – really" in reply.json()["warnings"][0]
    assert "this is slow ? really" in reply.headers["x-raysvc-warning"]


async def test_a_full_queue_refuses_with_the_limit(world: World) -> None:
    limits = Limits(max_queued_jobs=1)
    await world.store.projects.put(Project(name="team-a", limits=limits, created_at=world.clock.now()))
    await world.submit(project="team-a")
    reply = await world.call("POST", "/v1/jobs?project=team-a", json={"spec": SPEC})
    assert (reply.status_code, reply.json()["rule"]) == (429, "max_queued_jobs")


async def test_a_secret_that_is_not_there_is_named(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs", json={"spec": {**SPEC, "secrets": {"HF_TOKEN": "HF_TOKEN"}}})
    assert (reply.status_code, reply.json()["field"]) == (400, "secrets")
    assert "raysvc secret set HF_TOKEN" in reply.json()["detail"]


async def test_a_project_that_is_not_there_is_not_found(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs?project=nope", json={"spec": SPEC})
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:batch"])
@pytest.mark.parametrize("project", ["", "Team", "a_b", "x" * 64, "..", "%0a"])
async def test_a_project_that_is_no_name_is_refused(world: World, path: str, project: str) -> None:
    body = {"spec": SPEC} if path == "/v1/jobs" else {"jobs": [{"spec": SPEC}]}
    reply = await world.call("POST", f"{path}?project={project}", json=body)
    assert (reply.status_code, reply.json()["field"]) == (400, "project")
    assert "lower-case letters" in reply.json()["detail"]


async def test_a_store_that_does_not_answer_is_said_so(world: World) -> None:
    headers = await world.headers()
    await world.call("GET", "/v1/whoami", as_=headers)  # the token is known from now on
    await world.store.close()
    reply = await world.call("POST", "/v1/jobs", as_=headers, json={"spec": SPEC})
    assert (reply.status_code, reply.json()["code"]) == (503, "unavailable")
    assert reply.headers["retry-after"]


async def test_each_of_a_batch_has_a_result_of_its_own(world: World) -> None:
    batch = [
        {"spec": SPEC, "id": "first"},
        {"spec": SPEC, "id": "first"},
        {"spec": SPEC, "project": "nope"},
        {"spec": {**SPEC, "labels": {"deny": "no"}}},
        {"spec": SPEC, "project": "team-a", "idempotency_key": "k"},
    ]
    reply = await world.call("POST", "/v1/jobs:batch", json={"jobs": batch})
    results = reply.json()["results"]
    assert [result["status"] for result in results] == [201, 409, 404, 422, 201]
    assert (results[0]["job"]["id"], results[0]["problem"]) == ("first", None)
    assert (results[1]["problem"]["code"], results[3]["problem"]["rule"]) == ("already_exists", "house/no-fun")
    assert results[4]["job"]["project"] == "team-a"
    again = await world.call("POST", "/v1/jobs:batch", json={"jobs": batch[-1:]})
    assert again.json()["results"][0]["status"] == 200


async def test_a_batch_has_a_size(world: World) -> None:
    many = await world.call("POST", "/v1/jobs:batch", json={"jobs": [{"spec": SPEC}] * 1001})
    none = await world.call("POST", "/v1/jobs:batch", json={"jobs": []})
    assert (many.status_code, many.json()["field"]) == (400, "jobs")
    assert (none.status_code, none.json()["field"]) == (400, "jobs")


async def test_a_thousand_in_one_batch_are_kept_or_refused_each_in_its_place(world: World) -> None:
    jobs = [
        {"spec": SPEC, "id": f"j{number}", "project": "default" if number % 7 else "nope"} for number in range(1000)
    ]
    results = (await world.call("POST", "/v1/jobs:batch", json={"jobs": jobs})).json()["results"]
    assert [result["status"] for result in results] == [201 if number % 7 else 404 for number in range(1000)]
    assert all(result["job"]["id"] == f"j{n}" for n, result in enumerate(results) if n % 7)
    for kept in ("j1", "j500", "j999"):
        assert (await world.call("GET", f"/v1/jobs/{kept}")).status_code == 200


async def test_one_submission_that_breaks_does_not_break_the_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = world.store.jobs.add_each

    async def add_each(additions: Sequence[Addition]) -> Sequence[tuple[Job, bool] | Exception]:
        outcomes = await real(additions)
        return [
            RuntimeError("boom") if new.job.id == "broken" else outcome
            for new, outcome in zip(additions, outcomes, strict=True)
        ]

    monkeypatch.setattr(world.store.jobs, "add_each", add_each)
    batch = {"jobs": [{"spec": SPEC, "id": "broken"}, {"spec": SPEC, "id": "whole"}]}
    results = (await world.call("POST", "/v1/jobs:batch", json=batch)).json()["results"]
    assert [result["status"] for result in results] == [500, 201]
    assert "boom" not in results[0]["problem"]["detail"]
