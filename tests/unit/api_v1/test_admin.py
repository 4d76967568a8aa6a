"""Projects, tokens, secrets, clusters, admission, policies."""

from typing import Any

import pytest

from raysvc.domain.project import Role
from tests.unit.api_v1.world import World


async def test_a_project_is_made_once(world: World) -> None:
    body = {"name": "research", "limits": {"max_gpus": 8}}
    dry = await world.call("POST", "/v1/projects?dry_run=true", json=body)
    assert (dry.status_code, dry.json()["limits"]["max_gpus"]) == (200, 8)
    assert (await world.call("GET", "/v1/projects/research")).status_code == 404
    made = await world.call("POST", "/v1/projects", json=body)
    assert (made.status_code, made.json()["name"]) == (201, "research")
    again = await world.call("POST", "/v1/projects", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


async def test_limits_are_replaced_as_a_whole(world: World) -> None:
    await world.call("PUT", "/v1/projects/team-a/limits", json={"max_gpus": 8, "max_running_jobs": 2})
    reply = await world.call("PUT", "/v1/projects/team-a/limits", json={"max_cpus": 4})
    assert reply.json()["limits"] == {
        "max_running_jobs": None,
        "max_cpus": 4.0,
        "max_gpus": None,
        "max_queued_jobs": None,
    }
    dry = await world.call("PUT", "/v1/projects/team-a/limits?dry_run=true", json={})
    assert dry.json()["limits"]["max_cpus"] is None
    assert (await world.call("GET", "/v1/projects/team-a")).json()["limits"]["max_cpus"] == 4
    assert (await world.call("PUT", "/v1/projects/nope/limits", json={})).status_code == 404


async def test_a_token_sees_its_projects_only(world: World) -> None:
    scoped = await world.bearer(Role.ADMIN, "team-a")
    names = [project["name"] for project in (await world.call("GET", "/v1/projects", as_=scoped)).json()["items"]]
    assert names == ["team-a"]
    assert (await world.call("GET", "/v1/projects/team-b", as_=scoped)).status_code == 404


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/projects"), ("PUT", "/v1/projects/team-a/limits")])
async def test_a_projects_admin_manages_no_projects(world: World, method: str, path: str) -> None:
    scoped = await world.bearer(Role.ADMIN, "team-a")
    body = {"name": "mine"} if method == "POST" else {}
    reply = await world.call(method, path, as_=scoped, json=body)
    assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert "whole platform" in reply.json()["detail"]


async def issue(world: World, body: dict[str, Any], **options: Any) -> Any:
    return await world.call("POST", "/v1/tokens", json=body, **options)


async def test_a_tokens_secret_is_shown_once_and_works(world: World) -> None:
    made = await issue(world, {"role": "viewer", "owner": "bob", "projects": ["team-a"]})
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    secret = made.json()["secret"]
    me = await world.call("GET", "/v1/whoami", as_={"Authorization": f"Bearer {secret}"})
    assert {k: me.json()[k] for k in ("name", "role", "projects")} == {
        "name": "bob",
        "role": "viewer",
        "projects": ["team-a"],
    }
    listed = await world.call("GET", "/v1/tokens")
    assert secret not in listed.text
    assert made.json()["token"] in listed.json()["items"]


async def test_a_dry_token_opens_nothing(world: World) -> None:
    dry = await world.call("POST", "/v1/tokens?dry_run=true", json={"role": "viewer", "owner": "bob"})
    assert (dry.status_code, dry.json()["secret"]) == (200, None)
    assert len((await world.call("GET", "/v1/tokens")).json()["items"]) == 1


async def test_a_revoked_token_is_out_at_once(world: World) -> None:
    made = (await issue(world, {"role": "viewer", "owner": "bob"})).json()
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    path = f"/v1/tokens/{made['token']['id']}"
    assert (await world.call("DELETE", f"{path}?dry_run=true")).json()["revoked_at"]
    assert (await world.call("GET", "/v1/whoami", as_=bearer)).status_code == 200
    for _ in range(2):
        assert (await world.call("DELETE", path)).status_code == 204
    reply = await world.call("GET", "/v1/whoami", as_=bearer)
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")
    assert (await world.call("DELETE", "/v1/tokens/nope")).status_code == 404


async def test_the_last_admin_of_the_platform_stays(world: World) -> None:
    mine = (await world.call("GET", "/v1/whoami")).json()["token_id"]
    reply = await world.call("DELETE", f"/v1/tokens/{mine}")
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")
    await issue(world, {"role": "admin", "owner": "bob"})
    assert (await world.call("DELETE", f"/v1/tokens/{mine}")).status_code == 204


async def test_a_token_that_ends_ends(world: World) -> None:
    made = await issue(world, {"role": "viewer", "owner": "bob", "expires_at": "2026-01-01T01:00:00Z"})
    bearer = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert (await world.call("GET", "/v1/whoami", as_=bearer)).status_code == 200
    world.clock.advance(3600)
    assert (await world.call("GET", "/v1/whoami", as_=bearer)).status_code == 401
    past = await issue(world, {"role": "viewer", "owner": "bob", "expires_at": "2025-01-01T00:00:00Z"})
    assert (past.status_code, past.json()["field"]) == (400, "expires_at")


async def test_nobody_hands_out_more_than_they_have(world: World) -> None:
    scoped = await world.bearer(Role.ADMIN, "team-a")
    for projects, status in (([], 403), (["team-b"], 404), (["team-a", "team-b"], 404), (["team-a"], 201)):
        reply = await issue(world, {"role": "admin", "owner": "eve", "projects": projects}, as_=scoped)
        assert reply.status_code == status, projects
    unknown = await issue(world, {"role": "viewer", "owner": "bob", "projects": ["nope"]})
    assert (unknown.status_code, unknown.json()["field"]) == (400, "projects")


async def test_a_projects_admin_manages_its_own_tokens_only(world: World) -> None:
    scoped = await world.bearer(Role.ADMIN, "team-a")
    mine = (await issue(world, {"role": "member", "owner": "bob", "projects": ["team-a"]})).json()["token"]["id"]
    both = (await issue(world, {"role": "member", "owner": "bob", "projects": ["team-a", "team-b"]})).json()["token"][
        "id"
    ]
    seen = {token["id"] for token in (await world.call("GET", "/v1/tokens", as_=scoped)).json()["items"]}
    assert (mine in seen, both in seen) == (True, False)
    assert (await world.call("DELETE", f"/v1/tokens/{both}", as_=scoped)).status_code == 404
    assert (await world.call("DELETE", f"/v1/tokens/{mine}", as_=scoped)).status_code == 204


async def test_a_secret_goes_in_and_never_comes_out(world: World) -> None:
    put = await world.call("PUT", "/v1/secrets/HF_TOKEN?project=team-a", json={"value": "hf_s3cr3t"})
    assert put.status_code == 200
    listed = await world.call("GET", "/v1/secrets?project=team-a")
    assert [secret["name"] for secret in listed.json()["items"]] == ["HF_TOKEN"]
    assert "hf_s3cr3t" not in put.text + listed.text
    assert await world.platform.vault.secret("team-a", "HF_TOKEN") == "hf_s3cr3t"
    assert (await world.call("GET", "/v1/secrets?project=team-b")).json()["items"] == []


async def test_a_wrong_secret_is_not_echoed(world: World) -> None:
    reply = await world.call("PUT", "/v1/secrets/HF_TOKEN", json={"value": ["hf_s3cr3t"], "hf_s3cr3t_2": 1})
    assert reply.status_code == 400
    assert "hf_s3cr3t'" not in reply.text
    assert '"hf_s3cr3t"' not in reply.text


async def test_a_dry_run_touches_no_secret(world: World) -> None:
    assert (await world.call("PUT", "/v1/secrets/A?dry_run=true", json={"value": "x"})).status_code == 200
    assert (await world.call("GET", "/v1/secrets")).json()["items"] == []
    await world.call("PUT", "/v1/secrets/A", json={"value": "x"})
    assert (await world.call("DELETE", "/v1/secrets/A?dry_run=true")).json()["name"] == "A"
    assert (await world.call("DELETE", "/v1/secrets/A")).status_code == 204
    assert (await world.call("DELETE", "/v1/secrets/A")).status_code == 404


async def test_secrets_of_a_project_that_is_not_there(world: World) -> None:
    assert (await world.call("GET", "/v1/secrets?project=nope")).status_code == 404
    assert (await world.call("PUT", "/v1/secrets/A?project=nope", json={"value": "x"})).status_code == 404


async def test_clusters_belong_to_a_project(world: World) -> None:
    items = (await world.call("GET", "/v1/clusters")).json()["items"]
    assert [(cluster["name"], cluster["phase"]) for cluster in items] == [("local", "READY")]
    assert (await world.call("GET", "/v1/clusters/local")).json()["resources"]["cpus"] == 4
    outsider = await world.bearer(Role.ADMIN, "team-b")
    assert (await world.call("GET", "/v1/clusters", as_=outsider)).json()["items"] == []
    assert (await world.call("GET", "/v1/clusters/local", as_=outsider)).status_code == 404
    assert (await world.call("GET", "/v1/clusters/nope")).status_code == 404


async def test_admission_is_paused_and_resumed(world: World) -> None:
    assert (await world.call("GET", "/v1/admission")).json() == {"paused": False, "message": ""}
    body = {"message": "maintenance"}
    dry = await world.call("POST", "/v1/admission/pause?dry_run=true", json=body)
    assert dry.json() == {"paused": True, "message": "maintenance"}
    assert (await world.call("GET", "/v1/admission")).json()["paused"] is False
    for _ in range(2):
        assert (await world.call("POST", "/v1/admission/pause", json=body)).json()["paused"] is True
    assert (await world.call("GET", "/v1/admission")).json() == {"paused": True, "message": "maintenance"}
    assert (await world.call("POST", "/v1/admission/resume?dry_run=true")).json()["paused"] is False
    assert (await world.call("GET", "/v1/admission")).json()["paused"] is True
    assert (await world.call("POST", "/v1/admission/resume")).json()["paused"] is False
    assert (await world.call("GET", "/v1/admission")).json()["paused"] is False


async def test_a_projects_admin_does_not_pause_the_platform(world: World) -> None:
    scoped = await world.bearer(Role.ADMIN, "team-a")
    assert (await world.call("GET", "/v1/admission", as_=scoped)).status_code == 200
    assert (await world.call("POST", "/v1/admission/pause", as_=scoped, json={})).status_code == 403
    assert (await world.call("POST", "/v1/admission/resume", as_=scoped)).status_code == 403


async def test_loaded_policies_and_the_version_are_told(world: World) -> None:
    assert (await world.call("GET", "/v1/policies")).json() == {"items": [{"name": "house"}]}
    assert (await world.call("GET", "/v1/version")).json() == {"version": "0.1.0", "api": "v1"}
