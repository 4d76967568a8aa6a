"""Release 0.1.0 that serves while today's code migrates the database beside it, and both go on (R7)."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysvc.bootstrap.clock import SystemClock
from raysvc.control.ids import RandomIds
from raysvc.domain.job import JobSpec, submit
from raysvc.domain.pool import Pool, PoolSpec
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.store import SqlStore
from tests.real.test_upgrade import WHEEL

OLD_SERVER = """
import asyncio, sys
from raysvc.bootstrap.clock import SystemClock
from raysvc.control.ids import RandomIds
from raysvc.domain.job import JobSpec, submit
from raysvc.store import SqlStore

async def main():
    clock, ids = SystemClock(), RandomIds()
    store = SqlStore(sys.argv[1], clock)
    await store.open()
    print("open", flush=True)
    sys.stdin.readline()
    (group,) = (await store.jobs.get("default", "new")).spec.shape.workers
    job, event = submit(JobSpec(entrypoint="true"), job_id="old", uid=ids.uid(clock.now()), project="default",
                        owner="ada", now=clock.now())
    await store.jobs.add(job, [event])
    await store.close()
    print(group.scale.want, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def old(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """The released code with the database open, waiting for a line before it goes on."""
    folder = tmp_path / "old"
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder)
    command = [sys.executable, "-c", OLD_SERVER, f"sqlite:///{tmp_path / 'raysvc.db'}"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_the_old_one_reads_and_writes_on_after_the_new_one_has_migrated(
    old: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert old.stdout
    assert old.stdout.readline() == "open\n"
    clock, ids = SystemClock(), RandomIds()
    store = SqlStore(f"sqlite:///{tmp_path / 'raysvc.db'}", clock)
    await store.open()
    try:
        now = clock.now()
        spec = PoolSpec.model_validate({"selector": {"pool": "a"}, "nodes": {"fixed": 2}})
        await store.pools.put([Pool(name="a", spec=spec, created_at=now, updated_at=now)])
        workers = WorkerGroup(scale=Scale(want=3, max=3), resources=Resources(cpus=1, gpus=8))
        shaped = JobSpec(entrypoint="true", shape=Shape(workers=(workers,)))
        job, event = submit(shaped, job_id="new", uid=ids.uid(now), project="default", owner="ada", now=now)
        await store.jobs.add(job, [event])
        said, _ = old.communicate("go on\n", timeout=60)
        assert (said, old.returncode) == ("3\n", 0), "a group that asks for no place is read by 0.1.0"
        assert (await store.jobs.get("default", "old")).owner == "ada"
        assert [pool.name for pool in await store.pools.list()] == ["a"]
    finally:
        await store.close()
