"""Adds and moves jobs until it is killed, and says what was acknowledged: `python -m tests.contract.store.adder URL`.

Each line is a uid and the version that is promised to be on disk.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime
from itertools import count

from raysvc.domain.job import Job, JobPhase, JobSpec, submit
from raysvc.domain.model import make_uid
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock

CALLERS = 32


def acknowledge(job: Job) -> None:
    os.write(1, f"{job.uid} {job.version}\n".encode())


async def main(url: str) -> None:
    store = SqlStore(url, FakeClock())
    await store.open()
    numbers = count()

    async def work() -> None:
        for number in numbers:
            now = datetime.now(UTC)
            uid = make_uid(int(now.timestamp() * 1000), number)
            spec = JobSpec(entrypoint="true", labels={"all": "yes"})
            job, event = submit(spec, job_id=f"job_{uid}", uid=uid, project="default", owner="ann", now=now)
            acknowledge(await store.jobs.add(job, [event]))
            job, event = job.to(JobPhase.STARTING, job.reason, now)
            await store.jobs.save(job, [event])
            acknowledge(job)

    await asyncio.gather(*(work() for _ in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
