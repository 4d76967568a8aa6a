"""What release 0.1.0 kept, today's code goes on with. The wheel is the one that was released."""

import os
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from raysvc.bootstrap.clock import SystemClock
from raysvc.domain.event import fold
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.reason import ReasonCode, reason
from raysvc.store import SqlStore

WHEEL = Path(__file__).parents[1] / "fixtures" / "raysvc-0.1.0-py3-none-any.whl"
OLD_SERVER = """
import asyncio, sys
from raysvc.bootstrap.clock import SystemClock
from raysvc.control.ids import RandomIds
from raysvc.domain.job import JobSpec, submit
from raysvc.store import SqlStore
import raysvc

async def main():
    assert raysvc.__file__.startswith(sys.argv[2]), raysvc.__file__
    clock, ids = SystemClock(), RandomIds()
    store = SqlStore(sys.argv[1], clock)
    await store.open()
    for name in ("one", "two"):
        job, event = submit(JobSpec(entrypoint="true"), job_id=name, uid=ids.uid(clock.now()), project="default",
                            owner="ada", now=clock.now())
        await store.jobs.add(job, [event])
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
def kept_by_0_1_0(tmp_path: Path) -> str:
    """The URL of a database that the released code made, with jobs `one` and `two` queued."""
    folder = tmp_path / "old"
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder)
    url = f"sqlite:///{tmp_path / 'raysvc.db'}"
    command = [sys.executable, "-c", OLD_SERVER, url, str(folder)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(folder)}, cwd=tmp_path, check=True, timeout=180)
    return url


def test_the_wheel_holds_raysvc_alone_with_its_payload_and_data() -> None:
    with zipfile.ZipFile(WHEEL) as wheel:
        names = wheel.namelist()
    assert {name.partition("/")[0] for name in names} == {"raysvc", "raysvc-0.1.0.dist-info"}
    for needed in ("_payload/jobs/train_lm/job.yaml", "store/migrations/versions/v0001_first.py", "py.typed"):
        assert f"raysvc/{needed}" in names


async def test_jobs_of_0_1_0_are_there_and_move_on(kept_by_0_1_0: str) -> None:
    store = SqlStore(kept_by_0_1_0, SystemClock())
    await store.open()
    try:
        job = await store.jobs.get("default", "one")
        assert (job.phase, job.owner) == (JobPhase.QUEUED, "ada")
        cancelled, event = job.to(JobPhase.CANCELLED, reason(ReasonCode.STOPPED), datetime.now(UTC))
        await store.jobs.save(cancelled, [event])
        kept = await store.jobs.get("default", "one")
        assert Job.model_validate(fold(await store.jobs.events(job.uid))) == kept
        assert await store.jobs.count_queued("default") == 1
    finally:
        await store.close()
