"""A job's files, and the metrics in one of them."""

import json

import pytest

from raysvc.domain.job import Job, JobPhase
from tests.unit.api_v1.world import World

P = JobPhase


async def with_files(world: World, files: dict[str, bytes]) -> Job:
    job = await world.submit()
    job = await world.move(job.id, P.STARTING, P.RUNNING)
    world.backend.ray.files[job.uid] = {path: (data, world.clock.now()) for path, data in files.items()}
    return job


async def test_files_are_listed_and_downloaded(world: World) -> None:
    job = await with_files(world, {"model/config.json": b"{}", "a b.txt": b"0123456789"})
    items = (await world.call("GET", f"/v1/jobs/{job.id}/artifacts")).json()["items"]
    assert [(item["path"], item["size"]) for item in items] == [("a b.txt", 10), ("model/config.json", 2)]
    reply = await world.call("GET", f"/v1/jobs/{job.id}/artifacts/a%20b.txt")
    assert (reply.status_code, reply.content, reply.headers["content-length"]) == (200, b"0123456789", "10")
    assert (await world.call("GET", f"/v1/jobs/{job.uid}/artifacts/model/config.json")).content == b"{}"


async def test_a_file_is_nothing_that_a_browser_would_show(world: World) -> None:
    job = await with_files(world, {"page.html": b"<script>alert(1)</script>"})
    headers = (await world.call("GET", f"/v1/jobs/{job.id}/artifacts/page.html")).headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment"
    assert "sandbox" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=3-1", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
    ],
)
async def test_a_range_is_served(world: World, asked: str, status: int, content: bytes, told: str | None) -> None:
    job = await with_files(world, {"f": b"0123456789"})
    reply = await world.call("GET", f"/v1/jobs/{job.id}/artifacts/f", headers={"Range": asked})
    assert (reply.status_code, reply.content, reply.headers.get("content-range")) == (status, content, told)


@pytest.mark.parametrize(("size", "asked"), [(10, "bytes=10-"), (0, "bytes=0-"), (10, "bytes=-0")])
async def test_a_range_past_the_end_is_refused(world: World, size: int, asked: str) -> None:
    job = await with_files(world, {"f": b"x" * size})
    reply = await world.call("GET", f"/v1/jobs/{job.id}/artifacts/f", headers={"Range": asked})
    assert (reply.status_code, reply.json()["code"]) == (416, "range_not_satisfiable")
    assert reply.headers["content-range"] == f"bytes */{size}"


@pytest.mark.parametrize(
    "path",
    ["..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "../../metrics", "a/..%2f..%2fb", "f%00", "x" * 5000, "%5c..%5cf"],
)
async def test_no_path_leads_out(world: World, path: str) -> None:
    job = await with_files(world, {"f": b"mine"})
    reply = await world.call("GET", f"/v1/jobs/{job.id}/artifacts/{path}")
    assert reply.status_code in {400, 404}
    assert reply.headers["content-type"] == "application/problem+json"


async def test_metrics_are_the_last_value_of_each_step(world: World) -> None:
    lines = [
        {"step": 1, "loss": 5.0, "note": "words", "ok": True},
        {"step": 2, "loss": 4.0},
        {"step": 3, "loss": 3.5},
        {"step": 2, "loss": 3.9},  # resumed from a checkpoint
        {"step": 3, "loss": float("nan"), "total_steps": 10},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + '\nnot json\n[1]\n{"step": "x"}\n{"step": 4, "lo'
    job = await with_files(world, {"metrics.jsonl": text.encode()})
    body = (await world.call("GET", f"/v1/jobs/{job.id}/metrics")).json()
    assert body == {
        "points": [
            {"step": 1, "loss": 5.0},
            {"step": 2, "loss": 3.9},
            {"step": 3, "loss": None, "total_steps": 10},
        ],
        "total": 3,
        "truncated": False,
    }


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 1' + "0" * 400 + ', "loss": 1}',
        '{"step": -1, "loss": 1}',
        '{"step": true, "loss": 1}',
        '{"step": 1.5, "loss": 1}',
        '{"step": 1, "loss": 1' + "0" * 400 + "}",
        '{"step": 1, "loss": 1e308, "total_steps": Infinity}',
        '{"step": 1, "loss": -Infinity, "total_steps": -5}',
        "[" * 100_000,
        "9" * 5000,
    ],
)
async def test_no_line_of_a_job_breaks_its_page(world: World, line: str) -> None:
    good = json.dumps({"step": 2, "total_steps": 10, "loss": 1})
    job = await with_files(world, {"metrics.jsonl": f"{good}\n{line}\n".encode()})
    for path in (f"/v1/jobs/{job.id}/metrics", f"/v1/jobs/{job.id}", f"/jobs/{job.id}", "/jobs"):
        assert (await world.call("GET", path)).status_code == 200, path


async def test_metrics_are_thinned_out_and_keep_their_ends(world: World) -> None:
    text = "".join(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in range(1, 5001))
    job = await with_files(world, {"metrics.jsonl": text.encode()})
    body = (await world.call("GET", f"/v1/jobs/{job.id}/metrics?limit=50")).json()
    steps = [point["step"] for point in body["points"]]
    assert (len(steps), steps[0], steps[-1], body["total"]) == (50, 1, 5000, 5000)
    assert steps == sorted(set(steps))


async def test_of_a_long_metrics_file_the_end_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysvc.control.output.MOST_METRICS", 100)
    text = "".join(json.dumps({"step": step}) + "\n" for step in range(1000, 2000))
    job = await with_files(world, {"metrics.jsonl": text.encode()})
    body = (await world.call("GET", f"/v1/jobs/{job.id}/metrics")).json()
    assert (body["truncated"], body["points"][-1], body["points"][0]) == (True, {"step": 1999}, {"step": 1994})


async def test_a_job_tells_its_progress(world: World) -> None:
    text = json.dumps({"step": 30, "total_steps": 120, "loss": 2.5}) + "\n"
    job = await with_files(world, {"metrics.jsonl": text.encode()})
    progress = (await world.call("GET", f"/v1/jobs/{job.id}")).json()["progress"]
    assert progress == {"step": 30, "total": 120, "fraction": 0.25, "metrics": {"loss": 2.5}}
    silent = await with_files(world, {})
    assert (await world.call("GET", f"/v1/jobs/{silent.id}")).json()["progress"] is None
    assert (await world.call("GET", f"/v1/jobs/{silent.id}/metrics")).json()["points"] == []
