"""Probes, Prometheus, our own log."""

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.project import Role
from raysvc.errors import Unavailable
from tests.unit.api_v1.world import World


async def test_a_probe_needs_no_token(world: World) -> None:
    assert (await world.call("GET", "/healthz", as_={})).json() == {"status": "ok"}
    ready = await world.call("GET", "/readyz", as_={})
    assert (ready.status_code, ready.json()["clusters"]) == (200, {"local": "READY"})


async def test_a_server_without_ray_is_ready_for_work(world: World) -> None:
    world.backend.turn(ClusterPhase.FAILED)
    ready = await world.call("GET", "/readyz", as_={})
    assert (ready.status_code, ready.json()["clusters"]) == (200, {"local": "FAILED"})


async def test_a_server_without_its_store_is_not(world: World) -> None:
    await world.store.close()
    ready = await world.call("GET", "/readyz", as_={})
    assert (ready.status_code, ready.json()["store"]) == (503, "unavailable")
    assert (await world.call("GET", "/healthz", as_={})).status_code == 200


async def test_metrics_take_any_token(world: World) -> None:
    assert (await world.call("GET", "/metrics", as_={})).status_code == 401
    reply = await world.call("GET", "/metrics", as_=await world.bearer(Role.VIEWER, "team-a"))
    assert reply.headers["content-type"].startswith("text/plain")
    for name in (
        "raysvc_queue_depth_jobs",
        "raysvc_submit_seconds",
        "raysvc_job_moves_total",
        "raysvc_reconcile_seconds",
    ):
        assert name in reply.text


async def test_submissions_are_counted_by_outcome(world: World) -> None:
    async def count(outcome: str) -> float:
        text = (await world.call("GET", "/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith(f'raysvc_submits_total{{outcome="{outcome}"}}')]
        return float(lines[0].rpartition(" ")[2]) if lines else 0

    before = await count("accepted"), await count("denied")
    await world.call("POST", "/v1/jobs", json={"spec": {"entrypoint": "x"}})
    await world.call("POST", "/v1/jobs", json={"spec": {"entrypoint": "x", "labels": {"deny": "no"}}})
    batch = {"jobs": [{"spec": {"entrypoint": "x"}}, {"spec": {"entrypoint": "x", "labels": {"deny": "no"}}}]}
    await world.call("POST", "/v1/jobs:batch", json=batch)
    assert (await count("accepted"), await count("denied")) == (before[0] + 2, before[1] + 2)


async def test_a_request_id_is_kept_or_made(world: World) -> None:
    given = await world.call("GET", "/v1/version", headers={"X-Request-Id": "trace-1.a_B"})
    assert given.headers["x-request-id"] == "trace-1.a_B"
    for odd in ("a b", "x" * 65, "a\x7f"):
        made = (await world.call("GET", "/v1/version", headers={"X-Request-Id": odd})).headers["x-request-id"]
        assert len(made) == 16


def logged(entries: list[Any], event: str = "request") -> list[Any]:
    return [entry for entry in entries if entry["event"] == event]


async def test_each_request_is_one_line_without_secrets(world: World) -> None:
    headers = {**await world.headers(), "X-Request-Id": "r-1"}
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as entries:
        submitted = await world.call(
            "POST", "/v1/jobs?project=default", as_=headers, json={"spec": {"entrypoint": "x"}}
        )
        await world.call("PUT", "/v1/secrets/A", as_=headers, json={"value": "s3cr3t"})
        await world.call("GET", "/jobs?ticket=s3cr3t", as_=headers)
        await world.call("GET", "/healthz", as_={})
    lines = logged(entries)
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/v1/jobs", 201),
        ("PUT", "/v1/secrets/A", 200),
        ("GET", "/jobs", 400),
    ]
    assert (lines[0]["request_id"], lines[0]["actor"]) == ("r-1", "ada")
    assert lines[0]["job_id"] == submitted.json()["id"]
    assert "job_id" not in lines[1]
    said = str(entries)
    assert "s3cr3t" not in said
    assert headers["Authorization"].removeprefix("Bearer ") not in said


async def test_a_failure_that_nobody_foresaw_is_a_problem_without_details(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(world.platform.floor, "policies", broken)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as entries:
        reply = await world.call("GET", "/v1/policies", headers={"X-Request-Id": "r-2"})
    assert (reply.status_code, reply.json()["code"], reply.json()["request_id"]) == (500, "internal", "r-2")
    assert "secret detail" not in reply.text
    assert logged(entries, "request failed")[0]["request_id"] == "r-2"
    assert logged(entries)[0]["status"] == 500


async def test_a_page_shows_without_its_clusters(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone() -> None:
        raise Unavailable("The backend does not answer.")

    monkeypatch.setattr(world.backend.clusters, "list", gone)
    assert (await world.call("GET", "/readyz")).json()["clusters"] == {}
    assert (await world.call("GET", "/jobs")).status_code == 200
    assert (await world.call("GET", "/v1/clusters")).status_code == 503
