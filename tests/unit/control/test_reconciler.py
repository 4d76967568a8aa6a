"""The loop of effects, on a fake cluster and virtual time: what goes wrong around it, and what must come of it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from raysvc.domain.event import EventKind
from raysvc.domain.job import TERMINAL, Job, JobPhase
from raysvc.testing.backend import Crash, Faults

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


async def die(place: Place) -> None:
    """End the process as a `kill -9` would: nothing of it goes on; its lease runs out."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    place.reborn()
    place.clock.advance(10)


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
    other = await place.store.leases.acquire("reconciler", "somebody", now=place.clock.now(), ttl_s=3600)
    assert other is not None
    job = await place.submit("echo hello")
    await place.pass_by(10)
    assert (await place.now(job)).phase is JobPhase.QUEUED
    assert not place.backend.ray.lives


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_goes_wrong_each_job_ends_and_none_runs_twice_at_once(seed: int) -> None:
    place = await Place(seed=seed).open()
    place.backend.faults = Faults(
        unknown=0.1, refused=0.1, reply_lost=0.1, crash=0.05, late=0.1, twice=0.1, lost=0.1, late_s=5.0
    )
    dice = place.backend.dice
    entrypoints = [f"sleep {dice.randint(0, 8)}; exit {dice.randint(0, 1)}" for _ in range(5)]
    jobs = [await place.submit(entrypoint, retry={"user": 1}) for entrypoint in entrypoints]
    for _ in range(80):
        try:
            await place.pass_by(1 + 4 * dice.random())
        except Crash:
            await die(place)
        victim = await place.now(dice.choice(jobs))
        if victim.live and dice.random() < 0.02:
            await wish_to_stop(place, victim)
    place.backend.faults = Faults()
    await place.pass_by(400, step_s=1)
    for job in jobs:
        ended = await place.now(job)
        assert ended.phase in TERMINAL, ended
        assert place.backend.ray.most_alive[job.uid] <= 1
        assert place.backend.ray.begun[job.uid] <= ended.attempt
    await place.archive.close()
