"""Looking at jobs, listing, stopping, deleting, explaining."""

from urllib.parse import quote

import pytest

from raysvc.domain.job import JobPhase
from raysvc.domain.project import Role
from tests.unit.api_v1.world import UNKNOWN_UID, World

P = JobPhase


async def test_a_queued_job_has_its_live_reason_and_its_place(world: World) -> None:
    await world.store.flags.put("admission_paused", "maintenance")
    # Of one instant by this clock, so that their uids say which of them is first.
    first, second = sorted([await world.submit(), await world.submit()], key=lambda job: job.uid)
    reply = (await world.call("GET", f"/v1/jobs/{second.id}")).json()
    assert reply["reason"]["code"] == "ADMISSION_PAUSED"
    assert "maintenance" in reply["reason"]["message"]
    assert reply["position"] == 2
    listed = (await world.call("GET", "/v1/jobs")).json()["items"]
    assert [(job["id"], job["position"]) for job in listed] == [(second.id, 2), (first.id, 1)]


async def test_a_job_is_found_by_id_or_by_uid(world: World) -> None:
    job = await world.submit(project="team-a")
    by_id = await world.call("GET", f"/v1/jobs/{job.id}?project=team-a")
    by_uid = await world.call("GET", f"/v1/jobs/{job.uid}")
    assert by_id.json() == by_uid.json()
    assert (await world.call("GET", f"/v1/jobs/{job.id}")).status_code == 404
    assert (await world.call("GET", f"/v1/jobs/{job.uid}?project=team-b")).status_code == 404
    assert (await world.call("GET", f"/v1/jobs/{UNKNOWN_UID}")).status_code == 404


async def test_a_job_of_another_project_is_not_there(world: World) -> None:
    job = await world.submit(project="team-a")
    outsider = await world.bearer(Role.ADMIN, "team-b")
    for path in (f"/v1/jobs/{job.uid}", f"/v1/jobs/{job.id}?project=team-a", f"/v1/jobs/{job.uid}/logs"):
        assert (await world.call("GET", path, as_=outsider)).status_code == 404, path
    assert (await world.call("POST", f"/v1/jobs/{job.uid}/stop", as_=outsider)).status_code == 404
    assert (await world.call("DELETE", f"/v1/jobs/{job.uid}", as_=outsider)).status_code == 404
    assert (await world.call("GET", "/v1/jobs", as_=outsider)).json()["items"] == []
    assert (await world.call("GET", "/v1/jobs?project=team-a", as_=outsider)).status_code == 404


async def test_a_token_of_two_projects_finds_by_uid_in_both(world: World) -> None:
    job = await world.submit(project="team-b")
    both = await world.bearer(Role.VIEWER, "team-a", "team-b")
    assert (await world.call("GET", f"/v1/jobs/{job.uid}", as_=both)).status_code == 200


async def test_a_list_is_paged_newest_first(world: World) -> None:
    jobs = []
    for _ in range(5):
        jobs.append(await world.submit())
        world.clock.advance(1)
    seen, cursor = [], ""
    while True:
        page = (await world.call("GET", f"/v1/jobs?limit=2{cursor}")).json()
        assert len(page["items"]) <= 2
        seen += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={quote(page['next_cursor'])}"
    assert seen == [job.id for job in reversed(jobs)]


async def test_every_filter_filters(world: World) -> None:
    early = await world.submit(name="alpha-1", labels={"team": "nlp", "path": "a:b"})
    world.clock.advance(60)
    middle = world.clock.now().isoformat().replace("+00:00", "Z")
    world.clock.advance(60)
    late = await world.submit(name="beta-1", project="team-a", labels={"team": "vision"})
    await world.move(early.id, P.STARTING, P.RUNNING)
    cases = {
        "phase=RUNNING": early,
        "phase=QUEUED&phase=FAILED": late,
        "name_prefix=alpha": early,
        "label=team:vision": late,
        "label=path:a:b": early,
        "project=team-a": late,
        f"created_after={middle}": late,
        f"created_before={middle}": early,
    }
    for query, expected in cases.items():
        items = (await world.call("GET", f"/v1/jobs?{query}")).json()["items"]
        assert [job["id"] for job in items] == [expected.id], query
    assert len((await world.call("GET", "/v1/jobs?owner=root&project=default&project=team-a")).json()["items"]) == 2
    assert (await world.call("GET", "/v1/jobs?owner=nobody")).json()["items"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("phase=WALKING", "phase.0"),
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("label=nocolon", "label"),
        ("created_after=yesterday", "created_after"),
        ("created_after=2026-01-01T00:00:00", "created_after"),
        ("created_after=0.5", "created_after"),
        ("created_before=0001-01-01T00:00:00%2B14:00", "created_before"),
        ("cursor=nonsense", "cursor"),
        ("project=Team", "project.0"),
        ("colour=red", "colour"),
    ],
)
async def test_a_query_that_is_wrong_names_its_field(world: World, query: str, field: str) -> None:
    reply = await world.call("GET", f"/v1/jobs?{query}")
    assert (reply.status_code, reply.json()["code"], reply.json()["field"]) == (400, "invalid", field)


async def test_a_stop_is_a_wish_that_may_be_repeated(world: World) -> None:
    job = await world.submit()
    await world.move(job.id, P.STARTING, P.RUNNING)
    for _ in range(2):
        reply = await world.call("POST", f"/v1/jobs/{job.id}/stop")
        assert (reply.status_code, reply.json()["stopping"], reply.json()["job"]["stop_requested"]) == (200, True, True)
    await world.move(job.id, P.STOPPING, P.CANCELLED)
    assert (await world.call("POST", f"/v1/jobs/{job.id}/stop")).json()["stopping"] is False


async def test_a_stop_by_uid_stops_that_job(world: World) -> None:
    job = await world.submit(project="team-a")
    assert (await world.call("POST", f"/v1/jobs/{job.uid}/stop")).status_code == 200
    assert (await world.job(job.id, "team-a")).stop_requested


async def test_a_dry_stop_shows_what_would_be_sent(world: World) -> None:
    job = await world.submit()
    waiting = (await world.call("POST", f"/v1/jobs/{job.id}/stop?dry_run=true")).json()
    assert waiting["rendered"]["documents"] == []
    await world.move(job.id, P.STARTING, P.RUNNING)
    running = (await world.call("POST", f"/v1/jobs/{job.id}/stop?dry_run=true")).json()
    assert running["rendered"]["documents"][0]["path"] == f"/api/jobs/job-{job.uid}-1/stop"
    assert not (await world.job(job.id)).stop_requested


async def test_an_ended_job_is_deleted_and_a_live_one_is_not(world: World) -> None:
    job = await world.submit()
    await world.move(job.id, P.STARTING, P.RUNNING)
    live = await world.call("DELETE", f"/v1/jobs/{job.id}")
    assert (live.status_code, live.json()["code"]) == (409, "conflict")
    assert (await world.call("DELETE", f"/v1/jobs/{job.id}?dry_run=true")).status_code == 409
    await world.move(job.id, P.SUCCEEDED)
    dry = await world.call("DELETE", f"/v1/jobs/{job.id}?dry_run=true")
    assert dry.json()["rendered"]["documents"][-1]["method"] == "DELETE"
    assert (await world.call("DELETE", f"/v1/jobs/{job.id}")).status_code == 204
    for name in (job.id, job.uid):
        assert (await world.call("GET", f"/v1/jobs/{name}")).status_code == 404


async def test_attempts_are_told_one_by_one(world: World) -> None:
    job = await world.submit()
    await world.move(job.id, P.STARTING, P.RUNNING, P.QUEUED, P.STARTING)
    items = (await world.call("GET", f"/v1/jobs/{job.id}/attempts")).json()["items"]
    assert [(attempt["number"], attempt["cluster"]) for attempt in items] == [(1, "local"), (2, "local")]


async def test_explain_says_why_and_what_comes_next(world: World) -> None:
    job = await world.submit()
    await world.move(job.id, P.STARTING, P.RUNNING, P.FAILED, message="exit code 3")
    body = (await world.call("GET", f"/v1/jobs/{job.id}/explain")).json()
    assert "exit code 3" in body["summary"]
    assert f"raysvc job logs {job.id}" in body["advice"]


@pytest.mark.parametrize("part", ["", "/attempts", "/explain", "/events", "/logs", "/metrics", "/artifacts"])
async def test_what_hangs_on_a_job_that_is_not_there_is_not_there(world: World, part: str) -> None:
    reply = await world.call("GET", f"/v1/jobs/nope{part}")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
