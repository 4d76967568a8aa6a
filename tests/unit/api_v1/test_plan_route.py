"""`POST /v1/services/plan`: a plan for whoever may read a project, and no look at the server's disk or network."""

from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import pytest

from raysvc.api.context import ApiSettings
from raysvc.api.v1 import plan as route
from raysvc.domain.plan import Plan
from raysvc.domain.project import Role
from tests.unit.api_v1.world import World
from tests.unit.planner.checkpoint import LLAMA, llama_tensors, write

PATH = "/v1/services/plan"
SMALL = {"model": "Qwen/Qwen3-0.6B", "gpu": "L4"}


async def test_a_viewer_plans_a_model_of_the_catalogue(world: World) -> None:
    reply = await world.call("POST", PATH, json=SMALL, as_=await world.bearer(Role.VIEWER, "default"))
    assert reply.status_code == 200, reply.text
    found = Plan.model_validate(reply.json())
    assert found.best is not None
    assert found.candidates[found.best].fits


async def test_only_the_platforms_admin_plans_a_folder_of_the_servers_disk(world: World, tmp_path: Path) -> None:
    folder = str(write(tmp_path / "m", LLAMA, llama_tensors()))
    asked = {"model": folder, "gpu": "L4"}
    assert (await world.call("POST", PATH, json=asked)).status_code == 200
    project_admin = await world.bearer(Role.ADMIN, "default")
    answers = set()
    for model in (folder, folder + "/config.json", "/no/such/folder", "/etc/passwd", "../secret"):
        reply = await world.call("POST", PATH, json={"model": model}, as_=project_admin)
        assert reply.status_code == 400
        answers.add(reply.json()["detail"].replace(model, "MODEL"))
    assert len(answers) == 1  # what is there and what is not are one


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("https://127.0.0.1:8500/x", "not public (loopback)"),
        ("https://169.254.169.254/latest", "metadata"),
        ("https://10.0.0.8/x", "private"),
        ("https://[::1]/x", "loopback"),
        ("http://example.com/x", "a model is a directory"),
        ("file:///etc/passwd", "a model is a directory"),
        ("hf://../x", "hf://owner/name"),
        ("s3://bucket/../x", "s3://bucket/folder"),
    ],
)
async def test_a_url_leads_nowhere_that_is_private(world: World, model: str, said: str) -> None:
    reply = await world.call("POST", PATH, json={"model": model})
    assert reply.status_code == 400
    assert said in reply.json()["detail"]


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"gpu": "abacus"}, 400, "abacus"),
        ({"pool": "attic"}, 404, "attic"),
        ({"gpu_memory_utilization": 1.5}, 400, "gpu_memory_utilization"),
        ({"gpus": 0}, 400, "gpus"),
        ({"colour": "red"}, 400, "colour"),
        ({"model": ""}, 400, "model"),
        ({"model": "x" * 5000}, 400, "model"),
    ],
)
async def test_what_makes_no_sense_is_said(world: World, change: dict[str, Any], status: int, said: str) -> None:
    reply = await world.call("POST", PATH, json={**SMALL, **change})
    assert reply.status_code == status, reply.text
    assert said in reply.text


async def test_a_project_that_is_not_there_is_said(world: World) -> None:
    reply = await world.call("POST", f"{PATH}?project=nowhere", json=SMALL)
    assert reply.status_code == 404


async def test_more_plans_than_can_be_made_at_once_are_told_to_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = BoundedSemaphore(1)
    taken.acquire()
    monkeypatch.setattr(route, "_seats", taken)
    reply = await world.call("POST", PATH, json=SMALL)
    assert reply.status_code == 429
    assert reply.json()["code"] == "over_limit"
    taken.release()
    for _ in range(3):  # each gives its seat back
        assert (await world.call("POST", PATH, json=SMALL)).status_code == 200
        assert (await world.call("POST", PATH, json={"model": "hf://../x"})).status_code == 400


def test_without_an_environment_only_public_places_are_read() -> None:
    made = ApiSettings(url="http://127.0.0.1:1", dashboard_url="", version="0", session_key=b"s").models
    assert (made.trusted, made.hf_token, made.s3_keys, made.allow_private) == (frozenset(), None, None, False)
