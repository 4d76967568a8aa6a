"""What changes hands with the lease: effects, logs, late submits. On fakes and virtual time, one case each."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from raysvc.backends.local.jobs import LocalJobs
from raysvc.control.housekeeping import Housekeeper, Retention
from raysvc.control.lease import MARGIN, RENEW_S, TTL_S, Leadership
from raysvc.control.logbook import Archive, blob_key
from raysvc.domain.job import JobPhase, JobRef
from raysvc.domain.model import make_uid
from raysvc.errors import Unavailable
from raysvc.testing.blobs import MemoryBlobs
from tests.unit.control.world import Place

FAILOVER_S = 10.0


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = await Place().open()
    yield place
    await place.archive.close()


def other(place: Place) -> Leadership:
    return Leadership(place.store.leases, place.clock, place.signals, "the other")


def test_a_dead_leader_is_replaced_in_time_and_leaves_time_for_effects() -> None:
    assert TTL_S + RENEW_S < FAILOVER_S
    assert TTL_S - MARGIN.total_seconds() > RENEW_S


async def test_one_leads_and_the_other_takes_over_when_the_lease_is_over(place: Place) -> None:
    await place.leadership.renew()
    standby = other(place)
    await standby.renew()
    assert (place.leadership.held, standby.held) == (True, False)
    place.clock.advance(TTL_S)
    await standby.renew()
    assert (place.leadership.held, standby.held) == (False, True)


async def test_no_effect_begins_without_the_lease(place: Place) -> None:
    with pytest.raises(Unavailable, match="lease"):
        async with place.leadership.effect():
            raise AssertionError("it began")


async def test_an_effect_ends_with_the_lease(place: Place) -> None:
    """As of a process that was stopped in the midst of one: when it goes on, another one leads."""
    await place.leadership.renew()
    standby = other(place)

    async def effect() -> None:
        async with place.leadership.effect():
            place.clock.advance(TTL_S)
            await standby.renew()
            await place.leadership.renew()
            await asyncio.sleep(FAILOVER_S)

    with pytest.raises(Unavailable, match="lease"):
        await effect()


async def test_an_effect_goes_on_while_the_lease_is_renewed(place: Place) -> None:
    await place.leadership.renew()
    async with place.leadership.effect():
        for _ in range(5):
            place.clock.advance(TTL_S / 2)
            await place.leadership.renew()
            await asyncio.sleep(0)
    assert place.leadership.held


async def test_an_effects_own_timeout_stays_its_own(place: Place) -> None:
    await place.leadership.renew()
    with pytest.raises(TimeoutError):
        async with place.leadership.effect():
            raise TimeoutError


async def test_a_process_succeeds_its_own_predecessor_at_once(place: Place) -> None:
    """Of the same holder: a server that was killed and started again need not wait for its own lease."""
    for _ in range(2):
        leader = Leadership(place.store.leases, place.clock, place.signals, "the same data directory")
        await leader.renew()
        assert leader.held


async def test_a_submit_that_was_late_is_swept_though_its_job_has_ended(place: Place) -> None:
    """Ray takes what a dead server sent after the next one saw nothing there, and ended the job as wished."""
    job = await place.submit("sleep 1000")
    await place.pass_by(3)
    running = await place.now(job)
    assert running.ref is not None
    await place.backend.jobs.stop(running.ref)
    await place.pass_by(10)
    ended = await place.now(job)
    assert ended.phase is JobPhase.CANCELLED
    await place.backend.jobs.delete(running.ref)
    await place.backend.jobs.apply(running)

    keeper = Housekeeper(place.store, place.backend, place.blobs, place.archive, place.clock, Retention())
    assert await keeper.sweep() == 1
    assert [ref async for ref in place.backend.jobs.owned()] == []


async def test_servers_that_share_a_database_and_a_ray_never_sweep_each_others_jobs(place: Place) -> None:
    """Whoever leads claims by the records, not by what it has started itself; a job is on record before it is sent."""
    jobs = [await place.submit("sleep 1000") for _ in range(3)]
    await place.pass_by(3)
    first = Housekeeper(place.store, place.backend, place.blobs, place.archive, place.clock, Retention())
    await place.leadership.release()
    place.reborn()  # the other server: it has the database and the Ray, and none of the first one's memory
    second = Housekeeper(place.store, place.backend, place.blobs, place.archive, place.clock, Retention())
    jobs += [await place.submit("sleep 1000")]
    await place.pass_by(20)
    assert [await first.sweep(), await second.sweep(), await first.sweep()] == [0, 0, 0]
    assert {ref.uid async for ref in place.backend.jobs.owned()} == {job.uid for job in jobs}
    assert [(await place.now(job)).phase for job in jobs] == [JobPhase.RUNNING] * 4


async def test_an_ended_attempt_is_looked_at_once_and_stays_on_ray(place: Place) -> None:
    await place.submit("true")
    await place.pass_by(5)
    keeper = Housekeeper(place.store, place.backend, place.blobs, place.archive, place.clock, Retention())
    assert [await keeper.sweep(), await keeper.sweep()] == [0, 0]
    assert len([ref async for ref in place.backend.jobs.owned()]) == 1


class Lines:
    """A driver whose log is a list of chunks; `between` is called before the second of them is told."""

    def __init__(self, chunks: Sequence[bytes], between: Callable[[], asyncio.Future[int] | None]) -> None:
        self._chunks = chunks
        self._between = between

    async def logs(self, ref: JobRef, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        del ref, follow
        whole, position = b"".join(self._chunks), offset
        while position < len(whole):
            if (waited := self._between()) is not None:
                await waited
            yield whole[position : position + 4]
            position += 4


async def test_a_log_that_two_servers_copy_at_once_is_whole_and_drained() -> None:
    """The one that was held up appends what it had read, in front of the one that leads now."""
    blobs, ref = MemoryBlobs(), JobRef(uid=make_uid(1, 1), attempt=1)
    appended = False

    def meddle() -> "asyncio.Future[int] | None":
        nonlocal appended
        if appended:
            return None
        appended = True
        return asyncio.ensure_future(blobs.append(blob_key(ref), b"one\n", at=0))

    driver: Any = Lines([b"one\n", b"two\n"], meddle)
    archive = Archive(driver, blobs, Place().signals)
    await archive.drain(ref)
    assert b"".join([chunk async for chunk in blobs.read(blob_key(ref))]) == b"one\ntwo\n"


async def test_a_lease_says_how_long_it_is_held(place: Place) -> None:
    await place.leadership.renew()
    place.clock.advance(TTL_S - MARGIN.total_seconds() - 0.001)
    assert place.leadership.held
    place.clock.advance(0.002)
    assert not place.leadership.held


async def test_what_ray_writes_of_a_deleted_job_is_swept_too() -> None:
    """Ray's monitor makes a record anew, without metadata, of a job that was deleted within a second of its end."""
    ref = JobRef(uid=make_uid(1, 1), attempt=1)
    ours, theirs, remnant = (JobRef(uid=ref.uid, attempt=number) for number in (1, 2, 3))
    records: list[dict[str, Any]] = [
        {"submission_id": ours.name, "entrypoint": "true", "metadata": {"raysvc.instance": "here"}},
        {"submission_id": theirs.name, "entrypoint": "true", "metadata": {"raysvc.instance": "there"}},
        {"submission_id": remnant.name, "entrypoint": "Entrypoint not found.", "metadata": None, "status": "FAILED"},
    ]

    async def jobs() -> list[dict[str, Any]]:
        return records

    supervisor = SimpleNamespace(require=lambda: SimpleNamespace(api=SimpleNamespace(jobs=jobs)))
    world: Any = SimpleNamespace(supervisor=supervisor, instance="here", runs=SimpleNamespace(owned=lambda: ()))
    driver = LocalJobs.__new__(LocalJobs)
    driver._world = world  # noqa: SLF001 what else it is made of takes a machine
    assert [found async for found in driver.owned()] == [ours, remnant]
