"""A full disk under the API: a clear 507 from each, nothing by halves, and service again when there is space."""

from pathlib import Path

import httpx

from raysvc.bootstrap.clock import SystemClock
from raysvc.domain.query import JobQuery
from raysvc.store import SqlStore
from tests.small_disk import small_disk
from tests.unit.api_v1.world import World
from tests.unit.domain.archives import REG, noise, zipped

__all__ = ["small_disk"]

PACKAGE = "/api/packages/gcs/_ray_pkg_0123456789abcdef.zip"


async def ids(world: World) -> set[str]:
    return {job.id for job in (await world.store.jobs.find(JobQuery(limit=1000))).items}


async def submitted(world: World, job_id: str) -> httpx.Response:
    body = {"id": job_id, "spec": {"entrypoint": "echo " + "x" * 60_000}}
    return await world.call("POST", "/v1/jobs", json=body, headers={"Idempotency-Key": job_id})


async def test_submits_and_uploads_get_507_and_are_taken_again_when_there_is_space(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (2 << 20))
    (small_disk / "data").mkdir()
    world = World(small_disk / "data", SqlStore(f"sqlite:///{small_disk}/data/raysvc.db", SystemClock()))
    await world.open()
    try:
        kept, answer = set[str](), await submitted(world, "job-0")
        while answer.status_code == httpx.codes.CREATED:
            kept.add(answer.json()["id"])
            answer = await submitted(world, f"job-{len(kept)}")
        assert kept
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        assert "Free some space" in answer.json()["detail"]

        ray = await world.call("POST", "/api/jobs/", json={"entrypoint": "x" * 60_000, "submission_id": "by-ray"})
        assert (ray.status_code, "Free some space" in ray.text) == (507, True)
        package = zipped(("train.py", noise(900 << 10), REG))
        upload = await world.call("PUT", PACKAGE, content=package)
        assert (upload.status_code, "Free some space" in upload.text) == (507, True)
        # Who only reads is served, and nothing is half there.
        assert await ids(world) == kept
        assert (await world.call("GET", PACKAGE)).status_code == 404

        ballast.unlink()
        for again in (f"job-{len(kept)}", f"job-{len(kept)}"):  # under its key, once
            assert (await submitted(world, again)).status_code in {200, 201}
        assert await ids(world) == {*kept, f"job-{len(kept)}"}
        small = zipped(("train.py", noise(1 << 10), REG))
        assert (await world.call("PUT", PACKAGE, content=small)).status_code == 200
    finally:
        await world.store.close()
