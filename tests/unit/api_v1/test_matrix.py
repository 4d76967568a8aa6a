"""Each operation of /v1 against each role, made from the OpenAPI document: none can be left out."""

import re
from typing import Any

import pytest

from raysvc.domain.job import JobPhase
from raysvc.domain.project import Role
from tests.unit.api_v1.world import World

RANK = ["viewer", "member", "admin", "platform admin"]
P = JobPhase
CALLERS: dict[str, tuple[Role, tuple[str, ...]]] = {
    "viewer": (Role.VIEWER, ("team-a",)),
    "member": (Role.MEMBER, ("team-a",)),
    "admin": (Role.ADMIN, ("team-a",)),
    "platform admin": (Role.ADMIN, ()),
}


async def prepare(world: World) -> dict[str, str]:
    """Make one of everything in team-a; return what stands for each path parameter."""
    live = await world.submit("sleep infinity", project="team-a")
    await world.move(live.id, P.STARTING, P.RUNNING, project="team-a")
    world.backend.ray.files[live.uid] = {"f": (b"x", world.clock.now())}
    await world.call("PUT", "/v1/secrets/A?project=team-a", json={"value": "x"})
    token = {"role": "viewer", "owner": "x", "projects": ["team-a"]}
    made = (await world.call("POST", "/v1/tokens", json=token)).json()
    world.backend.cluster = world.backend.cluster.model_copy(update={"project": "team-a"})
    return {"job_id": live.id, "path": "f", "token_id": made["token"]["id"], "cluster": "local", "secret": "A"}


def url(path: str, values: dict[str, str]) -> str:
    kind = "cluster" if "/clusters/" in path else "secret" if "/secrets/" in path else "project"
    names = {**values, "name": "team-a" if kind == "project" else values[kind]}
    return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], path)


def body_of(operation: dict[str, Any]) -> Any:
    body = operation.get("requestBody")
    return None if body is None else body["content"]["application/json"]["example"]


# What an allowed call answers with here. Anything else would be a role that was let in and then broke.
def fits(operation: dict[str, Any], path: str, method: str, status: int) -> bool:
    if (method, path) == ("delete", "/v1/jobs/{job_id}"):
        return status == 409  # it is live
    if "follow" in path:
        return False
    return status in {200, 201, 204} and str(status) in operation["responses"]


@pytest.mark.parametrize("caller", CALLERS)
async def test_every_operation_lets_in_who_it_says_and_nobody_else(world: World, caller: str) -> None:
    values = await prepare(world)
    role, projects = CALLERS[caller]
    bearer = await world.bearer(role, *projects)
    document = world.front.openapi()
    checked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/v1/"):
                continue
            checked += 1
            needed = operation["x-role"]
            query = "?project=team-a" if "project" in {p["name"] for p in operation.get("parameters", ())} else ""
            example = body_of(operation)
            if path == "/v1/projects":
                example = {"name": f"new-{caller.replace(' ', '-')}"}
            if path == "/v1/tokens":
                example = {"role": "viewer", "owner": "x", "projects": ["team-a"]}
            if path == "/v1/jobs":
                example = {"spec": {"entrypoint": "true"}}
            if path == "/v1/jobs:batch":
                example = {"jobs": [{"spec": {"entrypoint": "true"}}]}
            options = {} if example is None else {"json": example}
            anonymous = await world.call(method.upper(), url(path, values) + query, as_={}, **options)
            assert anonymous.status_code == 401, (method, path)
            reply = await world.call(method.upper(), url(path, values) + query, as_=bearer, **options)
            status = reply.json()["results"][0]["status"] if path == "/v1/jobs:batch" else reply.status_code
            if RANK.index(caller) < RANK.index(needed):
                assert status == 403, (method, path, reply.text)
            elif path == "/v1/jobs:batch":
                assert status == 201
            else:
                assert fits(operation, path, method, status), (method, path, status, reply.text)
    assert checked >= 30


@pytest.mark.parametrize("role", list(Role))
async def test_no_operation_shows_anything_of_another_project(world: World, role: Role) -> None:
    values = await prepare(world)
    outsider = await world.bearer(role, "team-b")
    for path, operations in world.front.openapi()["paths"].items():
        for method, operation in operations.items():
            if "{" not in path or not path.startswith("/v1/"):
                continue
            query = "?project=team-a" if "project" in {p["name"] for p in operation.get("parameters", ())} else ""
            example = body_of(operation)
            options = {} if example is None else {"json": example}
            reply = await world.call(method.upper(), url(path, values) + query, as_=outsider, **options)
            # A role too low for the verb at all may be told so; nothing else may differ from "not there".
            assert reply.status_code in {403, 404}, (method, path, reply.text)
            if reply.status_code == 403:
                assert role is not Role.ADMIN, (method, path)
