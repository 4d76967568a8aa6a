"""Whose token, and which project."""

import httpx
import pytest

from raysvc.domain.project import Role
from tests.unit.api_ray.world import World

JOB = {"entrypoint": "echo hello", "submission_id": "same"}


@pytest.fixture
async def anonymous(world: World) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://front")


async def test_without_a_token_it_is_a_401_with_one_that_is_wrong_a_403(anonymous: httpx.AsyncClient) -> None:
    missing = await anonymous.get("/api/version")
    assert (missing.status_code, missing.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert missing.headers["content-type"].startswith("text/plain")
    for headers in ({"Authorization": "Bearer no"}, {"X-Ray-Authorization": "Bearer no"}, {"Authorization": "Basic x"}):
        wrong = await anonymous.get("/api/version", headers=headers)
        assert wrong.status_code == 403
        assert "WWW-Authenticate" not in wrong.headers


async def test_each_way_that_ray_carries_a_token_opens(anonymous: httpx.AsyncClient, world: World) -> None:
    secret = await world.token()
    for headers in (
        {"Authorization": f"Bearer {secret}"},
        {"X-Ray-Authorization": f"Bearer {secret}"},
        {"Cookie": f"ray-authentication-token={secret}"},
    ):
        assert (await anonymous.get("/api/jobs/", headers=headers)).status_code == 200


async def test_a_cookie_may_read_and_not_write(anonymous: httpx.AsyncClient, world: World) -> None:
    cookie = {"Cookie": f"ray-authentication-token={await world.token()}"}
    assert (await anonymous.get("/api/jobs/", headers=cookie)).status_code == 200
    assert (await anonymous.post("/api/jobs/", json=JOB, headers=cookie)).status_code == 403


async def test_the_path_names_the_project_then_the_header_then_the_token(
    anonymous: httpx.AsyncClient, world: World
) -> None:
    everywhere = await world.bearer()
    await anonymous.post("/p/team-a/api/jobs/", json=JOB, headers={**everywhere, "X-Raysvc-Project": "team-b"})
    assert (await world.job("same", "team-a")).project == "team-a"
    await anonymous.post("/api/jobs/", json=JOB, headers={**everywhere, "X-Raysvc-Project": "team-b"})
    assert (await world.job("same", "team-b")).project == "team-b"
    await anonymous.post("/api/jobs/", json=JOB, headers=everywhere)
    assert (await world.job("same", "default")).project == "default"
    mine = {**JOB, "submission_id": "mine"}
    await anonymous.post("/api/jobs/", json=mine, headers=await world.bearer(Role.MEMBER, "team-a"))
    assert (await world.job("mine", "team-a")).project == "team-a"


async def test_another_projects_jobs_are_not_there(anonymous: httpx.AsyncClient, world: World) -> None:
    await anonymous.post("/p/team-a/api/jobs/", json=JOB, headers=await world.bearer())
    stranger = await world.bearer(Role.ADMIN, "team-b")
    assert (await anonymous.get("/api/jobs/same", headers=stranger)).status_code == 404
    for method, path in (
        ("GET", "/p/team-a/api/jobs/same"),
        ("GET", "/p/team-a/api/jobs/"),
        ("GET", "/p/team-a/api/jobs/same/logs"),
        ("POST", "/p/team-a/api/jobs/same/stop"),
        ("DELETE", "/p/team-a/api/jobs/same"),
        ("GET", "/p/team-a/api/packages/gcs/_ray_pkg_0123456789abcdef.zip"),
        ("GET", "/p/team-a/api/component_activities"),
        ("GET", "/p/team-a/api/v0/jobs"),
    ):
        reply = await anonymous.request(method, path, headers=stranger)
        assert reply.status_code == 404, path
        assert "There is no project 'team-a' for this token." in reply.text


async def test_a_project_that_nobody_made_takes_no_job(anonymous: httpx.AsyncClient, world: World) -> None:
    reply = await anonymous.post("/p/typo/api/jobs/", json=JOB, headers=await world.bearer())
    assert reply.status_code == 404
    assert "raysvc project create typo" in reply.text
