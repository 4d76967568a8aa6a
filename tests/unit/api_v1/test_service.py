"""Services over HTTP, on fakes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raysvc.control.serving.loop import ServiceLoop
from raysvc.domain.key import NewKey
from raysvc.domain.project import Role
from raysvc.domain.service import ServicePhase, ServiceSpec
from tests.unit.api_v1.world import ROOT, World

SPEC = {"model": "/models/one", "resources": {"cpus": 1}}


@pytest.fixture
async def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    await world.open()
    return world


async def deployed(world: World, name: str = "chat", project: str = "default") -> None:
    """Deploy a service and let it become healthy, as the loop of a server that leads does."""
    here = world.platform
    await here.services.deploy(ROOT, project, name, ServiceSpec.model_validate(SPEC))
    loop = ServiceLoop(here._service_world(), here._leadership)  # noqa: SLF001 the server's own, step by step
    for _ in range(4):
        await here._leadership.renew()  # noqa: SLF001 as above
        await world.backend.services.speak(here.replicas.report, here.vault.replica_token)
        await loop.step()
    assert (await here.store.services.get(project, name)).phase is ServicePhase.HEALTHY


async def test_a_service_is_deployed_changed_and_deleted(world: World) -> None:
    made = await world.call("POST", "/v1/services", json={"name": "chat", "spec": SPEC})
    assert (made.status_code, made.json()["phase"], made.json()["models"]) == (201, "PENDING", ["default/chat", "chat"])
    assert made.headers["location"] == "/v1/services/chat?project=default"
    again = await world.call("POST", "/v1/services", json={"name": "chat", "spec": SPEC})
    assert (again.status_code, again.json()["uid"]) == (200, made.json()["uid"])
    other = await world.call("POST", "/v1/services", json={"name": "chat", "spec": {"model": "/models/two"}})
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")
    updated = await world.call("PUT", "/v1/services/chat", json={"spec": {**SPEC, "model": "/models/two"}})
    assert (updated.status_code, updated.json()["revision"]) == (200, 2)
    scaled = await world.call("POST", "/v1/services/chat/scale", json={"min": 2, "max": 3})
    assert (scaled.json()["revision"], scaled.json()["spec"]["replicas"]["max"]) == (2, 3)
    back = await world.call("POST", "/v1/services/chat/rollback", json={})
    assert (back.json()["revision"], back.json()["spec"]["model"]) == (3, "/models/one")
    gone = await world.call("DELETE", "/v1/services/chat")
    assert (gone.status_code, gone.json()["stop_requested"]) == (202, True)
    late = await world.call("PUT", "/v1/services/chat", json={"spec": SPEC})
    assert (late.status_code, "being deleted" in late.json()["detail"]) == (409, True)


async def test_dry_runs_keep_nothing(world: World) -> None:
    made = await world.call("POST", "/v1/services?dry_run=true", json={"name": "chat", "spec": SPEC})
    assert (made.status_code, made.json()["rendered"]["documents"][0]["method"]) == (200, "PUT")
    assert (await world.call("GET", "/v1/services")).json() == {"items": []}
    await deployed(world)
    before = (await world.call("GET", "/v1/services/chat")).json()
    for method, below, body in (
        ("PUT", "", {"spec": {**SPEC, "model": "/models/two"}}),
        ("POST", "/scale", {"min": 2, "max": 2}),
        ("DELETE", "", None),
    ):
        assert (await world.call(method, f"/v1/services/chat{below}?dry_run=true", json=body)).status_code == 200
    assert (await world.call("GET", "/v1/services/chat")).json() == before


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"model": "Qwen/Qwen3-8B"}, "model"),
        ({"model": "/models/../etc"}, "model"),
        ({"model": "/models/one\n"}, "model"),
        ({"model": "hf://a b"}, "model"),
        ({"model": "/m", "replicas": {"min": 2, "max": 1}}, "spec.replicas"),
        ({"model": "/m", "engine": {"tensor_parallel": 0}}, "spec.engine.tensor_parallel"),
        ({"model": "/m", "engine": {"max_num_seq": 1}}, "spec.engine.max_num_seq"),
        ({"model": "/m", "resources": {"custom": {"a\n": 1}}}, "resources.custom"),
    ],
)
async def test_a_spec_that_cannot_be_is_refused_by_the_name_of_its_field(
    world: World, spec: dict[str, object], field: str
) -> None:
    reply = await world.call("POST", "/v1/services", json={"name": "chat", "spec": spec})
    assert (reply.status_code, reply.json()["field"]) == (400, field)


@pytest.mark.parametrize("name", ["Chat", "a/b", "..", "x" * 64, ""])
async def test_a_name_that_no_host_can_have_is_refused(world: World, name: str) -> None:
    reply = await world.call("POST", "/v1/services", json={"name": name, "spec": SPEC})
    assert (reply.status_code, reply.json()["field"]) == (400, "name")


async def test_code_of_the_models_author_is_for_admins(world: World) -> None:
    spec = {**SPEC, "engine": {"trust_remote_code": True}}
    member = await world.bearer(Role.MEMBER)
    refused = await world.call("POST", "/v1/services", json={"name": "chat", "spec": spec}, as_=member)
    assert (refused.status_code, "role admin" in refused.json()["detail"]) == (403, True)
    assert (await world.call("POST", "/v1/services", json={"name": "chat", "spec": spec})).status_code == 201


async def test_services_of_a_project_stay_within_its_limits_at_their_most(world: World) -> None:
    limited = await world.call("PUT", "/v1/projects/default/limits", json={"max_cpus": 4})
    assert limited.status_code == 200
    world.clock.advance(2)
    three = {**SPEC, "replicas": {"min": 1, "max": 3}}
    assert (await world.call("POST", "/v1/services", json={"name": "one", "spec": three})).status_code == 201
    reply = await world.call("POST", "/v1/services", json={"name": "two", "spec": three})
    assert (reply.status_code, reply.json()["rule"]) == (429, "max_cpus")
    assert (await world.call("POST", "/v1/services", json={"name": "two", "spec": SPEC})).status_code == 201


async def test_where_nothing_is_served_that_is_said(world: World) -> None:
    del world.backend.services
    reply = await world.call("POST", "/v1/services", json={"name": "chat", "spec": SPEC})
    assert (reply.status_code, "does not serve models" in reply.json()["detail"]) == (409, True)


async def test_a_service_is_shown_with_the_replicas_that_answer(world: World) -> None:
    await deployed(world)
    found = (await world.call("GET", "/v1/services/chat")).json()
    assert (found["phase"], found["serving"], [it["state"] for it in found["replicas"]]) == ("HEALTHY", 1, ["READY"])
    said = (await world.call("GET", "/v1/services/chat/explain")).json()
    assert said["summary"].startswith("chat is HEALTHY for 0 s, 1 of 1 replicas ready. Serving")
    events = (await world.call("GET", "/v1/services/chat/events")).json()["items"]
    assert events[0]["message"] == "deployed as chat"
    log = await world.call("GET", "/v1/services/chat/logs?offset=7")
    assert (log.status_code, log.text) == (200, "of revision 1 starts\n")


async def test_a_silent_log_that_is_followed_ends_when_the_server_stops(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def silent(_uid: str, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        del offset, follow
        begun.set()
        try:
            await asyncio.Event().wait()
            yield b"never"
        finally:
            ended.set()

    await deployed(world)
    monkeypatch.setattr(world.backend.services, "logs", silent)
    asking = asyncio.create_task(world.call("GET", "/v1/services/chat/logs?follow=true"))
    async with asyncio.timeout(60):
        await begun.wait()
        world.front.state.stopping.set()
        assert (await asking).text == ""
    assert ended.is_set()


async def test_a_replica_reports_with_its_services_token_and_with_nothing_else(world: World) -> None:
    await deployed(world)
    await deployed(world, "other")
    ours, theirs = world.backend.services.reports()
    token = world.platform.vault.replica_token
    body = ours.model_dump(mode="json")
    orders = await world.call("POST", "/v1/replicas/report", json=body, as_=bearing(token(ours.service)))
    assert (orders.status_code, orders.json()["usage_through"]) == (200, 0)
    for headers in ({}, bearing(token(theirs.service)), await world.headers(), bearing("0" * 64)):
        reply = await world.call("POST", "/v1/replicas/report", json=body, as_=headers)
        assert reply.status_code == 401
    assert (await world.call("GET", "/v1/services", as_=bearing(token(ours.service)))).status_code == 401


async def test_a_report_brings_the_keys_that_open_the_service_and_only_when_they_are_others(world: World) -> None:
    await deployed(world)
    key, _ = await world.platform.keys.create(ROOT, "default", NewKey(services=("chat",)))
    await world.platform.keys.create(ROOT, "default", NewKey(services=("other",)))
    (report,) = world.backend.services.reports()
    headers = bearing(world.platform.vault.replica_token(report.service))
    first = (await world.call("POST", "/v1/replicas/report", json=report.model_dump(mode="json"), as_=headers)).json()
    assert [grant["id"] for grant in first["keys"]] == [key.id]
    known = report.model_copy(update={"keys_version": first["keys_version"]}).model_dump(mode="json")
    again = (await world.call("POST", "/v1/replicas/report", json=known, as_=headers)).json()
    assert (again["keys"], again["keys_version"]) == (None, first["keys_version"])


async def test_usage_in_a_report_is_in_the_ledger_once(world: World) -> None:
    await deployed(world)
    (report,) = world.backend.services.reports()
    usage = {
        "sequence": 1,
        "key": "k1",
        "request_id": "r1",
        "at": world.clock.now().isoformat(),
        "status": 200,
        "prompt_tokens": 3,
        "completion_tokens": 4,
    }
    body = {**report.model_dump(mode="json"), "usage": [usage]}
    headers = bearing(world.platform.vault.replica_token(report.service))
    for _ in range(2):
        reply = await world.call("POST", "/v1/replicas/report", json=body, as_=headers)
        assert reply.json()["usage_through"] == 1
    (total,) = (await world.call("GET", "/v1/usage")).json()["items"]
    assert (total["requests"], total["prompt_tokens"], total["completion_tokens"]) == (1, 3, 4)


async def test_models_are_listed_to_whom_they_are_open(world: World) -> None:
    await deployed(world)
    await deployed(world, "other")
    await world.call("POST", "/v1/services", json={"name": "coming", "spec": SPEC})
    _, secret = await world.platform.keys.create(ROOT, "default", NewKey(services=("chat",)))
    assert secret is not None
    found = (await world.call("GET", "/v1/models", as_=bearing(secret))).json()
    assert found["object"] == "list"
    assert [model["id"] for model in found["data"]] == ["default/chat", "chat"]
    everything = (await world.call("GET", "/v1/models")).json()
    assert [model["id"] for model in everything["data"]] == ["default/chat", "chat", "default/other", "other"]
    assert (await world.call("GET", "/v1/models", as_=bearing("rsk-nobody"))).status_code == 401
    for path in ("/v1/services", "/v1/jobs", "/api/jobs/"):
        assert (await world.call("GET", path, as_=bearing(secret))).status_code in {401, 403}


def bearing(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
