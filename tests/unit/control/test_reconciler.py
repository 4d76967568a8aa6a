"""The loop of effects, on a fake cluster and virtual time. What goes wrong around it: `tests/simulate`."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from raysvc.control.lease import TTL_S
from raysvc.domain.event import EventKind
from raysvc.domain.job import Job, JobPhase, JobRef
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode
from raysvc.errors import NotFound
from raysvc.testing.backend import FakeJobs

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


async def test_one_that_a_new_process_finds_waiting_starts_when_it_may_and_not_at_its_deadline(place: Place) -> None:
    job = await place.submit("sleep 1; exit 1", timeout_s=600, retry={"user": 1, "backoff_s": 3})
    while (starts := (await place.now(job)).not_before) is None or starts > place.clock.now() + timedelta(seconds=0.5):
        await place.pass_by(0.5)
    await place.leadership.release()
    place.reborn()  # its first step finds the job waiting, its second admits it
    await place.pass_by(10)
    ended = await place.now(job)
    assert (ended.phase, ended.attempt, ended.reason.code) == (JobPhase.FAILED, 2, ReasonCode.ENTRYPOINT_FAILED)


class TwoSteps(FakeJobs):
    """Makes an attempt at the first apply, and refuses to begin it at the second."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.backend)
        self.made: set[str] = set()
        self.stopped: list[str] = []

    async def apply(self, record: Job) -> None:
        ref = record.ref
        assert ref
        if ref.name in self.made:
            raise NotFound("There is no secret 'TOKEN'.", field="secrets")
        self.made.add(ref.name)

    async def observe(self, ref: JobRef) -> Observation:
        return Observation(seen=Seen.WAITING if ref.name in self.made else Seen.ABSENT)

    async def stop(self, ref: JobRef) -> None:
        self.stopped.append(ref.name)
        self.made.discard(ref.name)


async def test_one_that_is_made_and_then_refused_ends_and_is_not_left_to_wait(place: Place) -> None:
    place.backend.jobs = jobs = TwoSteps(place)
    job = await place.submit("echo hello")
    await place.pass_by(8)
    ended = await place.now(job)
    assert (ended.phase, ended.reason.code) == (JobPhase.FAILED, ReasonCode.SECRET_MISSING)
    assert set(jobs.stopped) == {f"job-{job.uid}-1"}
