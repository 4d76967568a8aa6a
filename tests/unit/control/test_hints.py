"""What makes the loop quick: a backend's hints, and a scheduler that is not skipped for long."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from raysvc.control.reconciler import IDLE_S, PASS_S, PATIENCE_S
from raysvc.control.signal import Signals
from raysvc.domain.job import Job, JobPhase, JobRef
from raysvc.domain.observation import Observation
from raysvc.testing.backend import FakeJobs

from .world import Place


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = await Place().open()
    await place.leadership.renew()
    yield place
    await place.archive.close()


async def test_a_submit_right_after_a_pass_is_not_left_for_the_idle_pause(place: Place) -> None:
    await place.reconciler.step()
    job = await place.submit("echo hello")
    place.clock.advance(PASS_S / 5)
    assert await place.reconciler.step() <= PASS_S < IDLE_S
    place.clock.advance(PASS_S)
    await place.reconciler.step()
    assert (await place.now(job)).phase is not JobPhase.QUEUED


class Watching(FakeJobs):
    """Says what it is told to say, and that it was looked at."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.backend)
        self.hints: asyncio.Queue[JobRef] = asyncio.Queue()
        self.looked = asyncio.Event()

    async def changes(self) -> AsyncIterator[JobRef]:
        while True:
            yield await self.hints.get()

    async def observe(self, ref: JobRef) -> Observation:
        self.looked.set()
        return await super().observe(ref)


async def test_a_hint_brings_a_look_before_its_time(place: Place) -> None:
    place.backend.jobs = watching = Watching(place)
    job = await place.submit("sleep 1000")
    await place.pass_by(10)
    await place.reconciler.step()
    ref = (await place.now(job)).ref
    assert ref
    watching.looked.clear()
    running = asyncio.create_task(place.reconciler.run())
    try:
        await asyncio.sleep(0)
        watching.hints.put_nowait(ref)
        await asyncio.wait_for(watching.looked.wait(), 60)  # the clock stands still: no look is due
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_hint_for_a_busy_loop_is_kept(place: Place) -> None:
    place.signals.notify(Signals.RECONCILER)
    assert await place.signals.wait(Signals.RECONCILER, 10)


class Slow(FakeJobs):
    """Takes as long to deliver some jobs as is allowed."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.backend)
        self.delivered = asyncio.Event()

    async def apply(self, record: Job) -> None:
        if record.spec.entrypoint == "echo large":
            await self.delivered.wait()
        await super().apply(record)


async def test_a_slow_delivery_holds_nobody_else_up_and_is_not_begun_twice(place: Place) -> None:
    place.backend.jobs = slow = Slow(place)
    large, small = await place.submit("echo large"), await place.submit("echo small")
    for _ in range(40):
        passing = asyncio.create_task(place.pass_by(0.5))
        await asyncio.wait({passing}, timeout=0.05)
        place.clock.advance(PATIENCE_S)
        await passing
    assert [(await place.now(job)).phase for job in (large, small)] == [JobPhase.STARTING, JobPhase.SUCCEEDED]
    slow.delivered.set()
    for _ in range(10):
        await place.pass_by(0.5)
        await asyncio.sleep(0)  # the memory store lets nobody else run
    assert (await place.now(large)).phase is JobPhase.SUCCEEDED
    assert place.backend.ray.begun[large.uid] == 1
