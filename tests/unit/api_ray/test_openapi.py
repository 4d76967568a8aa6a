"""What the OpenAPI document says of Ray's API is what the routes do."""

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Match

from raysvc.api.ray import paths
from raysvc.domain.job import JobPhase as P
from tests.unit.api_ray.world import World

VALUES = {"job_id": "j1", "protocol": "gcs", "name": "_ray_pkg_0123456789abcdef.zip"}


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, item in paths().items() for method, operation in item.items()]


def schema_of(path: str, method: str) -> dict[str, Any]:
    reply: dict[str, Any] = paths()[path][method]["responses"]["200"]
    found: dict[str, Any] = reply["content"]["application/json"]["schema"]
    return found


@pytest.mark.parametrize(("path", "method", "operation"), operations())
def test_every_operation_is_routed_and_its_schemas_are_schemas(
    world: World, path: str, method: str, operation: dict[str, Any]
) -> None:
    scope = {"type": "http", "path": path.format(**VALUES), "method": method.upper(), "root_path": ""}
    assert any(route.matches(scope)[0] is Match.FULL for route in world.app.routes)
    contents = [*operation["responses"].values(), operation.get("requestBody", {})]
    for content in contents:
        for media in content.get("content", {}).values():
            Draft202012Validator.check_schema(media["schema"])
    assert {part["name"] for part in operation.get("parameters", ())} == {
        name for name in VALUES if f"{{{name}}}" in path
    }


async def test_replies_are_as_described(client: httpx.AsyncClient, world: World) -> None:
    body = paths()["/api/jobs/"]["post"]["requestBody"]["content"]["application/json"]
    Draft202012Validator(body["schema"]).validate(body["example"])
    made = await client.post("/api/jobs/", json={**body["example"], "submission_id": "j1"})
    Draft202012Validator(schema_of("/api/jobs/", "post")).validate(made.json())
    for path in ("/api/version", "/api/jobs/", "/api/jobs/{job_id}", "/api/jobs/{job_id}/logs"):
        reply = await client.get(path.format(**VALUES))
        Draft202012Validator(schema_of(path, "get")).validate(reply.json())
    activities = (await client.get("/api/component_activities")).json()
    Draft202012Validator(schema_of("/api/component_activities", "get")).validate(activities)
    stopped = (await client.post("/api/jobs/j1/stop")).json()
    Draft202012Validator(schema_of("/api/jobs/{job_id}/stop", "post")).validate(stopped)
    await world.move("j1", P.CANCELLED)
    deleted = (await client.delete("/api/jobs/j1")).json()
    Draft202012Validator(schema_of("/api/jobs/{job_id}", "delete")).validate(deleted)


def test_each_call_gives_a_document_of_its_own() -> None:
    paths()["/api/version"]["get"]["responses"]["400"]["headers"] = {}
    assert "headers" not in paths()["/api/version"]["get"]["responses"]["400"]
