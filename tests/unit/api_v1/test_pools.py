"""Node pools, nodes and the place of a job, over HTTP."""

from typing import Any

import pytest

from raysvc.control.pool import PoolDesk
from raysvc.domain.node import OsFacts
from raysvc.domain.project import Role
from tests.unit.api_v1.world import World
from tests.unit.control.ground import node, system_node

GPU: dict[str, Any] = {
    "name": "gpu",
    "spec": {
        "selector": {"pool": "gpu"},
        "nodes": {"fixed": 3},
        "accelerator": {"name": "H100", "count": 8},
        "os": {"driver": "570.*", "on_drift": "exclude"},
    },
}
SYSTEM: dict[str, Any] = {
    "name": "system",
    "spec": {"selector": {"pool": "system"}, "node_class": "system", "nodes": {"fixed": 1}},
}
DRIVER = OsFacts(driver="570.124")


def job(want: int, gpus: int = 8, **group: Any) -> dict[str, Any]:
    workers = {"scale": {"min": 0, "want": want, "max": want}, "resources": {"gpus": gpus}, **group}
    return {"spec": {"entrypoint": "x", "shape": {"workers": [workers]}}}


async def declare(world: World, *pools: dict[str, Any], **options: Any) -> Any:
    return await world.call("POST", "/v1/pools", json={"pools": pools}, **options)


@pytest.fixture
async def ground(world: World) -> World:
    """Three GPU nodes, one of them with an old driver, and a system node."""
    world.backend.machines = [
        node("gpu-1", os=DRIVER),
        node("gpu-2", os=OsFacts(driver="550.90")),
        node("gpu-3", os=DRIVER),
        system_node(),
    ]
    assert (await declare(world, GPU, SYSTEM)).status_code == 200
    return world


async def test_pools_are_declared_replaced_shown_and_forgotten(ground: World) -> None:
    listed = (await ground.call("GET", "/v1/pools")).json()["items"]
    assert [(it["name"], it["seen"], it["usable"]) for it in listed] == [("gpu", 3, 2), ("system", 1, 1)]
    assert listed[0]["notes"] == ["gpu-2: driver is 550.90, not 570.*"]
    born = listed[0]["created_at"]
    ground.clock.advance(60)
    wider = {**GPU, "spec": {**GPU["spec"], "os": {}}}
    assert (await declare(ground, wider)).json()["items"][0]["created_at"] == born
    changed = (await ground.call("GET", "/v1/pools/gpu")).json()
    assert (changed["usable"], changed["notes"], changed["updated_at"] > born) == (3, [], True)
    dry = await ground.call("DELETE", "/v1/pools/gpu?dry_run=true")
    assert (dry.status_code, dry.json()["name"]) == (200, "gpu")
    assert (await ground.call("DELETE", "/v1/pools/gpu")).status_code == 204
    assert (await ground.call("GET", "/v1/pools/gpu")).status_code == 404
    assert (await ground.call("DELETE", "/v1/pools/gpu")).status_code == 404


async def test_a_dry_run_declares_nothing(world: World) -> None:
    reply = await world.call("POST", "/v1/pools?dry_run=true", json={"pools": [GPU]})
    assert (reply.status_code, reply.json()["items"][0]["name"]) == (200, "gpu")
    assert (await world.call("GET", "/v1/pools")).json() == {"items": []}


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"nodes": {"min": 5, "max": 2}}, "pools.0.spec.nodes", "min <= max does not hold for 5, 2"),
        ({"nodes": {"max": 2}}, "pools.0.spec", "a pool that grows says what a new node has"),
        ({"accelerator": {"name": "H1", "count": 8}}, "pools.0.spec.accelerator", "is not in the catalogue"),
        ({"selektor": {}}, "pools.0.spec.selektor", "did you mean 'selector'?"),
        ({"accelerator": {"name": "H100", "count": "8"}}, "pools.0.spec.accelerator.count", "integer"),
        ({"os": {"driver": "5\n70"}}, "os.driver", "U+000A"),
    ],
)
async def test_what_is_wrong_is_said_by_its_path(world: World, change: dict[str, Any], field: str, said: str) -> None:
    reply = await declare(world, {**GPU, "spec": {**GPU["spec"], **change}})
    problem = reply.json()
    assert (reply.status_code, problem["field"]) == (400, field)
    assert said in problem["detail"]
    assert list(await world.store.pools.list()) == []


async def test_all_are_declared_or_none(world: World) -> None:
    overlap = {
        "name": "other",
        "spec": {**SYSTEM["spec"], "selector": {"pool": "gpu", "zone": "1"}, "node_class": "user"},
    }
    reply = await declare(world, GPU, SYSTEM, overlap)
    assert (reply.status_code, reply.json()["field"]) == (400, "selector")
    assert "'gpu' and 'other' overlap" in reply.json()["detail"]
    assert list(await world.store.pools.list()) == []
    twice = await declare(world, GPU, GPU)
    assert "stands there twice" in twice.json()["detail"]


async def test_a_node_of_two_pools_is_found_among_those_that_are_there(world: World) -> None:
    world.backend.machines = [node("gpu-1", labels={"zone": "1"})]
    zone = {"name": "zone", "spec": {**SYSTEM["spec"], "selector": {"zone": "1"}}}
    assert "such as gpu-1" in (await declare(world, GPU, zone)).json()["detail"]


async def test_a_job_is_told_where_it_would_go(ground: World) -> None:
    reply = await ground.call("POST", "/v1/pools:fit", json=job(2))
    assert reply.status_code == 200
    assert reply.json()["refusal"] is None
    (group,) = reply.json()["placement"]["groups"]
    assert (group["pool"], group["nodes"]) == ("gpu", {"gpu-1": 1, "gpu-3": 1})
    assert reply.json()["placement"]["head_node"] == "sys-1"


async def test_a_job_that_does_not_fit_is_told_why_and_what_would(ground: World) -> None:
    refusal = (await ground.call("POST", "/v1/pools:fit", json=job(3))).json()["refusal"]
    (why,) = refusal["pools"]
    assert (why["pool"], why["code"]) == ("gpu", "DRIFTED")
    assert why["message"] == "has room for 2 of 3 workers now (gpu-2 drifted: driver is 550.90, not 570.*)"
    assert (refusal["nearest"]["workers"], refusal["ever"]) == (2, False)


async def test_a_node_in_quarantine_gets_no_work_until_it_is_released(ground: World) -> None:
    reply = await ground.call("PUT", "/v1/nodes/gpu-1/quarantine", json={"reason": "XID 79"})
    assert (reply.status_code, reply.json()["reason"], reply.json()["by"]) == (200, "XID 79", "ada")
    refusal = (await ground.call("POST", "/v1/pools:fit", json=job(2))).json()["refusal"]
    assert "gpu-1 quarantined: XID 79" in refusal["pools"][0]["message"]
    assert refusal["ever"] is True
    listed = {it["name"]: it for it in (await ground.call("GET", "/v1/nodes")).json()["items"]}
    assert (listed["gpu-1"]["usable"], listed["gpu-1"]["why"]) == (False, "quarantined: XID 79")
    assert listed["gpu-1"]["quarantine"]["reason"] == "XID 79"
    assert (listed["gpu-2"]["pool"], listed["gpu-2"]["drift"]) == ("gpu", ["driver is 550.90, not 570.*"])
    assert (listed["gpu-3"]["usable"], listed["gpu-3"]["why"]) == (True, None)
    assert (await ground.call("DELETE", "/v1/nodes/gpu-1/quarantine?dry_run=true")).status_code == 204
    assert len(await ground.store.quarantines.list()) == 1
    assert (await ground.call("DELETE", "/v1/nodes/gpu-1/quarantine")).status_code == 204
    assert (await ground.call("DELETE", "/v1/nodes/gpu-1/quarantine")).status_code == 204
    assert (await ground.call("POST", "/v1/pools:fit", json=job(2))).json()["placement"] is not None


async def test_only_nodes_that_are_there_go_into_quarantine_and_a_dry_run_keeps_none(ground: World) -> None:
    body = {"reason": "x"}
    assert (await ground.call("PUT", "/v1/nodes/gpu-9/quarantine", json=body)).status_code == 404
    assert (await ground.call("PUT", "/v1/nodes/gpu-1/quarantine?dry_run=true", json=body)).status_code == 200
    assert (await ground.call("PUT", "/v1/nodes/gpu-1/quarantine", json={"reason": "a\nb"})).status_code == 400
    assert list(await ground.store.quarantines.list()) == []


async def test_a_node_without_a_pool_says_so(world: World) -> None:
    world.backend.machines = [node("lone", of="none")]
    (listed,) = (await world.call("GET", "/v1/nodes")).json()["items"]
    assert (listed["pool"], listed["usable"], listed["why"]) == (None, False, "no pool has its labels")


async def test_pools_show_what_is_missing(world: World) -> None:
    await declare(world, GPU)
    (nothing,) = (await world.call("GET", "/v1/pools")).json()["items"]
    assert nothing["notes"] == [
        "No pool has `node_class: system`, so no job can have a head.",
        "No node has its labels.",
    ]
    world.backend.machines = [node("gpu-1", os=DRIVER)]
    (few,) = (await world.call("GET", "/v1/pools")).json()["items"]
    assert few["notes"][-1] == "1 of 3 nodes are there."


async def test_drift_that_is_only_reported_is_a_note_and_no_more(world: World) -> None:
    world.backend.machines = [node("gpu-1", os=OsFacts(driver="550.90"))]
    await declare(world, {**GPU, "spec": {**GPU["spec"], "os": {"driver": "570.*"}, "nodes": {"fixed": 1}}}, SYSTEM)
    found = (await world.call("GET", "/v1/pools/gpu")).json()
    assert (found["usable"], found["notes"]) == (
        1,
        ["gpu-1: driver is 550.90, not 570.* (takes work: os.on_drift is report)"],
    )


async def test_a_pool_of_some_projects_is_there_for_those_who_see_one_and_names_no_other(world: World) -> None:
    await declare(world, {**GPU, "spec": {**GPU["spec"], "projects": ["team-a", "team-b"]}})
    inside, outside = await world.bearer(Role.VIEWER, "team-a"), await world.bearer(Role.ADMIN, "default")
    shown = (await world.call("GET", "/v1/pools/gpu", as_=inside)).json()
    assert shown["spec"]["projects"] == ["team-a"]
    assert (await world.call("GET", "/v1/pools/gpu", as_=outside)).status_code == 404
    assert (await world.call("GET", "/v1/pools", as_=outside)).json() == {"items": []}


async def test_a_projects_admin_neither_declares_nor_sees_nodes(ground: World) -> None:
    admin = await ground.bearer(Role.ADMIN, "team-a")
    assert (await declare(ground, GPU, as_=admin)).status_code == 403
    for method, path in (("GET", "/v1/nodes"), ("GET", "/v1/pools:discover"), ("DELETE", "/v1/pools/gpu")):
        assert (await ground.call(method, path, as_=admin)).status_code == 403
    assert (await ground.call("POST", "/v1/pools:fit?project=team-b", json=job(1), as_=admin)).status_code == 404


async def test_without_kubernetes_pools_are_kept_and_what_is_about_nodes_says_what_to_do(world: World) -> None:
    world.platform.pools = PoolDesk(world.store, object(), world.clock)
    assert (await declare(world, GPU, SYSTEM)).status_code == 200
    found = (await world.call("GET", "/v1/pools/gpu")).json()
    assert (found["seen"], found["usable"], found["notes"]) == (None, None, [])
    asked: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("GET", "/v1/nodes", {}),
        ("GET", "/v1/pools:discover", {}),
        ("POST", "/v1/pools:fit", {"json": job(1)}),
        ("PUT", "/v1/nodes/gpu-1/quarantine", {"json": {"reason": "x"}}),
    )
    for method, path, options in asked:
        reply = await world.call(method, path, **options)
        assert (reply.status_code, reply.json()["code"]) == (409, "conflict")
        assert "raysvc up --kube" in reply.json()["detail"]
    # What an earlier server with Kubernetes put there can still be ended.
    assert (await world.call("DELETE", "/v1/nodes/gpu-1/quarantine")).status_code == 204


async def test_what_the_nodes_suggest_is_the_backends_to_say(ground: World) -> None:
    found = (await ground.call("GET", "/v1/pools:discover")).json()
    assert found == {"pools": [], "left": [f"{name}: is a fake" for name in ("gpu-1", "gpu-2", "gpu-3", "sys-1")]}
