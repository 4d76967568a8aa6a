"""What the leader does now and then: orphans go, claims stay, and history is kept to its bounds."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from raysvc.control.housekeeping import Housekeeper, Retention, claimed
from raysvc.domain.job import Job, JobPhase, JobRef
from raysvc.errors import NotFound

from .world import Place


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = await Place().open()
    yield place
    await place.archive.close()


def keeper(place: Place, **retention: object) -> Housekeeper:
    kept = Retention.model_validate(retention)
    return Housekeeper(place.store, place.backend, place.blobs, place.archive, place.clock, kept)


async def refs(place: Place) -> set[str]:
    return {ref.name async for ref in place.backend.jobs.owned()}


async def finished(place: Place, count: int) -> list[Job]:
    jobs = []
    for number in range(count):
        jobs.append(await place.submit(f"echo {number} {'x' * 100}"))
        await place.pass_by(3)
        assert (await place.now(jobs[-1])).finalised
    return jobs


async def gone(place: Place, job: Job) -> bool:
    try:
        await place.store.jobs.get_by_uid(job.uid)
    except NotFound:
        return True
    return False


async def test_what_no_record_claims_is_swept_and_what_runs_is_not(place: Place) -> None:
    running = await place.submit("sleep 1000")
    await place.pass_by(3)
    stray = (await place.now(running)).model_copy(update={"uid": "0" * 16})
    await place.backend.jobs.apply(stray)
    assert await keeper(place).sweep() == 1
    assert await refs(place) == {JobRef(uid=running.uid, attempt=1).name}


async def test_an_earlier_attempt_that_begins_late_beside_the_next_one_is_stopped_and_its_name_kept(
    place: Place,
) -> None:
    job = await place.submit("sleep 1000", retry={"backoff_s": 0})
    await place.pass_by(3)
    place.backend.ray.lose_all()
    await place.pass_by(10)
    second = await place.now(job)
    assert second.attempt == 2
    await place.backend.jobs.apply(second.model_copy(update={"attempt": 1}))
    assert len(place.backend.ray.alive()) == 2
    assert await keeper(place).sweep() == 1
    assert place.backend.ray.alive() == [JobRef(uid=job.uid, attempt=2)]
    assert await refs(place) == {JobRef(uid=job.uid, attempt=n).name for n in (1, 2)}


async def test_an_ended_jobs_last_attempt_stays_a_while_and_then_goes(place: Place) -> None:
    [job] = await finished(place, 1)
    chores = keeper(place, on_cluster=timedelta(minutes=10))
    assert await chores.sweep() == 0
    place.clock.advance(601)
    assert await chores.sweep() == 1
    assert (await place.now(job)).phase is JobPhase.SUCCEEDED


async def test_every_attempt_of_a_live_job_is_claimed_so_that_ray_refuses_a_late_duplicate(place: Place) -> None:
    job = await place.now(await place.submit("sleep 1000"))
    third = job.model_copy(update={"attempt": 3})
    now, keep = place.clock.now(), timedelta(hours=1)
    claims = [claimed(third, JobRef(uid=job.uid, attempt=n), now, keep) for n in (1, 2, 3, 4)]
    assert claims == [True, True, True, False]
    assert not claimed(third.model_copy(update={"deleted": True}), JobRef(uid=job.uid, attempt=3), now, keep)


async def test_history_is_pruned_by_age_with_its_logs(place: Place) -> None:
    old, young = await finished(place, 1), []
    place.clock.advance(timedelta(days=2).total_seconds())
    young = await finished(place, 1)
    live = await place.submit("sleep 1000")
    assert await keeper(place, finished_jobs=timedelta(days=1)).prune() == 1
    assert [await gone(place, job) for job in (*old, *young, live)] == [True, False, False]
    assert await place.blobs.size(f"logs/{old[0].uid}/") == 0
    assert await place.blobs.size(f"logs/{young[0].uid}/") > 0


async def test_history_is_pruned_by_the_size_of_its_logs_oldest_first(place: Place) -> None:
    jobs = await finished(place, 25)
    each = await place.blobs.size(f"logs/{jobs[0].uid}/")
    assert await keeper(place, finished_jobs=None, log_bytes=each * 10).prune() == 20
    assert [await gone(place, job) for job in jobs] == [True] * 20 + [False] * 5


async def test_the_logs_of_what_lives_are_never_pruned(place: Place) -> None:
    job = await place.submit("echo begun; sleep 1000")
    await place.pass_by(3)
    assert await keeper(place, finished_jobs=None, log_bytes=1).prune() == 0
    assert "begun" in await place.log(job)
