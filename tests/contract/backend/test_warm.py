"""Warm drivers on real Ray, beyond the contract: whose the pool is, what Ray sees of it, what comes of its death."""

import asyncio
import io
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from raysvc.backends.local.pool.pools import MOST_POOLS
from raysvc.domain.job import Job, JobRef
from raysvc.domain.observation import Seen
from raysvc.domain.reason import ReasonCode
from raysvc.ports import Reachable, Watchful
from tests.contract.backend.lab import Lab, ref_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.ray]


@pytest.fixture
def span() -> str:
    """Return a number of seconds that nobody else sleeps."""
    return str(secrets.randbelow(10**9) + 10**6)


@pytest.fixture
def nobody(span: str) -> Iterator[None]:
    """Check that at the end nobody sleeps it."""
    yield
    assert not having(span)


def having(word: str) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline", "status"])
    return [p for p in found if word in (p.info["cmdline"] or ()) and p.info["status"] != psutil.STATUS_ZOMBIE]


def pools(data_dir: Path) -> list[psutil.Process]:
    """Return the pools of a data directory, without the shell and the init that they run under."""
    found = psutil.process_iter(["cmdline"])
    lines = [(process, process.info["cmdline"] or []) for process in found]
    folder = f"{data_dir}/work/warm/pools/"
    return [process for process, line in lines if line[1:2] == ["-u"] and any(part.startswith(folder) for part in line)]


async def gone(lab: Lab, word: str) -> None:
    async def look() -> bool | None:
        return True if not having(word) else None

    await lab.until(look)


async def started(lab: Lab, job: Job, word: str) -> None:
    await lab.backend.jobs.apply(job)

    async def look() -> bool | None:
        return True if having(word) else None

    await lab.until(look)


def pool_of(local_dir: Path, job: Job) -> str:
    return (local_dir / "work" / "warm" / "runs" / f"{ref_of(job).name}.begun").read_text().split('"pool": "')[1]


async def test_a_pool_is_a_projects_own(warm: Lab, local_dir: Path) -> None:
    jobs = [warm.job("true"), warm.job("true"), warm.job("true", project="other")]
    for job in jobs:
        assert (await warm.run(job)).seen is Seen.SUCCEEDED
    mine, again, theirs = (pool_of(local_dir, job) for job in jobs)
    assert mine == again
    assert mine.startswith("warm-default-")
    assert theirs.startswith("warm-other-")


async def test_who_watches_hears_of_a_job_when_it_begins_and_ends(either: Lab) -> None:
    assert isinstance(either.backend.jobs, Watchful)
    heard, job = list[JobRef](), either.job("echo hello")

    async def listen(jobs: Watchful[JobRef]) -> None:
        async for ref in jobs.changes():
            heard.append(ref)

    listening = asyncio.create_task(listen(either.backend.jobs))
    try:
        await either.run(job)

        async def look() -> bool | None:
            return True if ref_of(job) in heard else None

        await either.until(look)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_pools_of_many_projects_make_room_for_each_other(warm: Lab, local_dir: Path) -> None:
    for number in range(MOST_POOLS + 2):
        assert (await warm.run(warm.job("true", project=f"p{number}-{'x' * 60}"))).seen is Seen.SUCCEEDED

    async def look() -> bool | None:
        return True if len(pools(local_dir)) <= MOST_POOLS else None

    await warm.until(look)


async def test_a_driver_of_ray_has_its_code_in_its_workers_and_its_name_in_the_dashboard(warm: Lab) -> None:
    program = """
import os, ray
from lib import WORD
ray.init(logging_level="error")
@ray.remote
def read():
    import lib
    return lib.WORD, os.environ["COLOUR"]
print(WORD, *ray.get(read.remote()))
"""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", program)
        archive.writestr("lib.py", "WORD = 'mellon'")
    warm.materials.packages["default", "_ray_pkg_2222222222222222.zip"] = packed.getvalue()
    env = {"working_dir": "gcs://_ray_pkg_2222222222222222.zip", "env_vars": {"COLOUR": "blue"}}
    job = warm.job("python main.py", runtime_env=env, metadata={"team": "vision"}, name="night run")
    seen = await warm.run(job)
    log = await warm.log(ref_of(job))
    assert seen.seen is Seen.SUCCEEDED, log
    assert b"mellon mellon blue\n" in log
    assert isinstance(warm.backend, Reachable)
    endpoint = await warm.backend.endpoint("local")
    async with httpx.AsyncClient(base_url=endpoint.url, headers=endpoint.headers) as http:
        records = (await http.get("/api/jobs/")).json()
    said = [found["metadata"] or {} for found in records]
    drivers = [metadata for metadata in said if metadata.get("raysvc.attempt") == ref_of(job).name]
    assert [(found["job_name"], found["team"]) for found in drivers] == [("night run", "vision")]


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("victim", ["pool", "supervisor"])
async def test_runs_are_lost_with_their_pool_and_nothing_of_them_outlives_it(
    warm: Lab, local_dir: Path, span: str, victim: str
) -> None:
    job = warm.job(f"sleep {span} & sleep {span}; true")
    await started(warm, job, span)
    for pool in pools(local_dir):
        above = [parent for parent in pool.parents() if "JobSupervisor" in " ".join(parent.cmdline())]
        (pool if victim == "pool" else above[0]).kill()
    seen = await warm.ended(ref_of(job))
    assert (seen.seen, seen.cause) == (Seen.FAILED, ReasonCode.DRIVER_LOST)
    await gone(warm, span)
    await warm.backend.jobs.apply(job)
    assert await warm.backend.jobs.observe(ref_of(job)) == seen  # lost, and never started twice
    second = job.model_copy(update={"attempt": 2, "spec": job.spec.model_copy(update={"entrypoint": "true"})})
    assert (await warm.run(second)).seen is Seen.SUCCEEDED
