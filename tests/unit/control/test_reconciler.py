"""The loop of effects, on a fake cluster and virtual time. What goes wrong around it: `tests/simulate`."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from raysvc.control.lease import TTL_S
from raysvc.domain.event import EventKind
from raysvc.domain.job import Job, JobPhase

from .world import Place


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = await Place().open()
    yield place
    await place.archive.close()


async def wish_to_stop(place: Place, job: Job) -> None:
    kept = await place.now(job)
    now = place.clock.now()
    after, event = kept.change(EventKind.STOP_REQUESTED, now, actor="ada", stop_requested=True, due_at=now)
    await place.store.jobs.save(after, [event])


async def test_a_job_runs_to_its_end_with_its_log_whole(place: Place) -> None:
    job = await place.submit("echo hello")
    await place.pass_by(5)
    ended = await place.now(job)
    assert (ended.phase, ended.attempt, ended.finalised) == (JobPhase.SUCCEEDED, 1, True)
    assert "hello" in await place.log(job)


async def test_who_sees_a_job_ended_finds_its_log_whole(place: Place) -> None:
    job = await place.submit("echo begun; sleep 3; echo ended")
    while (await place.now(job)).live:
        await place.archive.close()  # who follows the log is late: only what the end itself waits for is copied
        await place.pass_by(0.5)
    assert "ended" in await place.log(job)


async def test_a_lost_cluster_means_another_attempt_and_its_log_follows_the_first(place: Place) -> None:
    job = await place.submit("echo begun; sleep 10; echo ended")
    await place.pass_by(5)
    place.backend.ray.lose_all()
    await place.pass_by(30)
    ended = await place.now(job)
    assert (ended.phase, ended.attempt, ended.infrastructure_retries) == (JobPhase.SUCCEEDED, 2, 1)
    log = await place.log(job)
    assert log.index("begun") < log.index("attempt 2 ----") < log.rindex("begun") < log.index("ended")


async def test_a_stop_wins_over_a_running_job_and_over_one_that_waits(place: Place) -> None:
    running = await place.submit("sleep 1000")
    await place.pass_by(3)
    waiting = await place.submit("sleep 1000", resources={"cpus": 1000})
    await place.pass_by(1)
    for job in (running, waiting):
        await wish_to_stop(place, job)
    await place.pass_by(10)
    assert [(await place.now(job)).phase for job in (running, waiting)] == [JobPhase.CANCELLED] * 2


async def test_who_does_not_hold_the_lease_causes_nothing(place: Place) -> None:
    other = await place.store.leases.acquire("reconciler", "somebody", now=place.clock.now(), ttl_s=2 * TTL_S)
    assert other is not None
    job = await place.submit("echo hello")
    await place.pass_by(10)
    assert (await place.now(job)).phase is JobPhase.QUEUED
    assert not place.backend.ray.lives


async def test_who_was_held_up_and_has_lost_the_lease_since_changes_no_record(place: Place) -> None:
    await place.leadership.renew()
    job = await place.submit("echo hello")
    verdicts, leases = place.reconciler._world.queue.verdicts, place.store.leases  # noqa: SLF001 the moment to be held up

    async def held_up() -> Any:
        found = await verdicts()
        later = place.clock.now() + timedelta(seconds=2 * TTL_S)
        assert await leases.acquire("reconciler", "somebody", now=later, ttl_s=TTL_S)
        return found

    place.reconciler._world.queue.verdicts = held_up  # type: ignore[method-assign]  # noqa: SLF001
    await place.reconciler.step()
    assert (await place.now(job)).phase is JobPhase.QUEUED
