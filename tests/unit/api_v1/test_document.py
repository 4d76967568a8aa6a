"""The OpenAPI document: whole, and true."""

import json
import re
from typing import Any

from pydantic import BaseModel, TypeAdapter

from raysvc.api.v1 import place_example, service_view, view
from raysvc.domain.cluster import NewCluster, NewScale
from raysvc.domain.inventory import FitAsk, NewPools, NewQuarantine, NodeState, PoolState
from raysvc.domain.key import NewKey
from raysvc.domain.node import Quarantine
from raysvc.domain.plan import PlanRequest
from raysvc.domain.project import Limits
from raysvc.domain.replica import ReplicaReport
from raysvc.domain.service import ReplicaScale
from tests.unit.api_v1.world import World

BODIES: dict[str, type[BaseModel]] = {
    "Submit": view.Submit,
    "Batch": view.Batch,
    "NewProject": view.NewProject,
    "Limits": Limits,
    "NewToken": view.NewToken,
    "SecretValue": view.SecretValue,
    "Pause": view.Pause,
    "NewCluster": NewCluster,
    "NewScale": NewScale,
    "NewPools": NewPools,
    "FitAsk": FitAsk,
    "NewQuarantine": NewQuarantine,
    "NewKey": NewKey,
    "PlanRequest": PlanRequest,
    "NewService": service_view.NewService,
    "ServiceUpdate": service_view.ServiceUpdate,
    "Rollback": service_view.Rollback,
    "ReplicaScale": ReplicaScale,
    "ReplicaReport": ReplicaReport,
}
# Routes that take a body and keep nothing, and the one that tells of what has been.
ONLY_ASK = {"/v1/pools:fit", "/v1/services/plan", "/v1/replicas/report"}


def operations(world: World) -> list[tuple[str, str, dict[str, Any]]]:
    paths = world.front.openapi()["paths"]
    return [(path, method, operation) for path, methods in paths.items() for method, operation in methods.items()]


async def test_it_is_served(world: World) -> None:
    reply = await world.call("GET", "/openapi.json", as_={})
    assert (reply.status_code, reply.json()["openapi"]) == (200, "3.1.0")


async def test_every_reference_leads_somewhere(world: World) -> None:
    document = world.front.openapi()
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert names <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_every_operation_says_what_it_is_who_may_and_how_it_fails(world: World) -> None:
    for path, method, operation in operations(world):
        if not path.startswith("/v1/"):
            continue
        assert operation["summary"], (method, path)
        assert operation["description"], (method, path)
        assert operation["tags"], (method, path)
        assert operation["security"] == [{"bearer": []}], (method, path)
        assert operation["x-role"] in {"viewer", "member", "admin", "platform admin", "replica"}, (method, path)
        assert {"400", "401", "403", "404", "421", "503"} <= set(operation["responses"]), (method, path)
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")):
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Problem"}, (method, path, status)


async def test_every_body_has_an_example_that_is_accepted(world: World) -> None:
    bodies = [operation["requestBody"]["content"]["application/json"] for path, _, operation in operations(world)
              if "requestBody" in operation and path.startswith("/v1/")]  # fmt: skip
    assert len(bodies) == len(BODIES)
    for body in bodies:
        model = BODIES[body["schema"]["$ref"].rpartition("/")[2]]
        model.model_validate(body["example"])


async def test_the_examples_of_replies_are_of_their_schema(world: World) -> None:
    known: dict[str, Any] = {"JobView": view.JobView, "SubmittedView": view.SubmittedView, "BatchView": view.BatchView}
    known |= {"ServiceView": service_view.ServiceView, "DeployedView": service_view.DeployedView}
    checked = 0
    for path, method, operation in operations(world):
        for answer in operation["responses"].values():
            content = answer.get("content", {}).get("application/json", {})
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if "example" in content and name in known:
                TypeAdapter(known[name]).validate_python(content["example"])
                checked += 1
        assert operation["responses"], (method, path)
    assert checked >= 3


def test_the_examples_of_pools_and_nodes_are_as_they_are_sent() -> None:
    kinds = (
        (PoolState, place_example.POOL_STATE),
        (NodeState, place_example.NODE),
        (Quarantine, place_example.QUARANTINE),
    )
    for kind, shown in kinds:
        found = TypeAdapter[BaseModel](kind).validate_python(shown)
        assert found.model_dump(mode="json").keys() == shown.keys()


async def test_every_write_has_a_dry_run(world: World) -> None:
    for path, method, operation in operations(world):
        if path.startswith("/v1/") and method != "get" and path not in {"/v1/jobs:batch", *ONLY_ASK}:
            assert "dry_run" in {p["name"] for p in operation["parameters"]}, (method, path)


async def test_rays_own_api_is_in_it(world: World) -> None:
    assert "/api/jobs/" in world.front.openapi()["paths"]
