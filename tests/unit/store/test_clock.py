"""The fake clock: time passes when it is told to."""

import asyncio

from raysvc.ports import Clock
from raysvc.testing.clock import FakeClock


async def beat(clock: Clock, name: str, period: float, seen: list[tuple[str, float]]) -> None:
    start = clock.now()
    while True:
        await clock.sleep(period)
        seen.append((name, (clock.now() - start).total_seconds()))


async def test_nobody_wakes_before_the_time() -> None:
    clock = FakeClock()
    sleeper = asyncio.create_task(clock.sleep(10))
    await asyncio.sleep(0)
    clock.advance(9.999)
    await asyncio.sleep(0)
    assert not sleeper.done()
    assert clock.sleeping == 1
    clock.advance(0.001)
    await sleeper
    assert clock.sleeping == 0


async def test_running_wakes_each_at_its_own_time_in_order() -> None:
    clock, seen = FakeClock(), list[tuple[str, float]]()
    tasks = [asyncio.create_task(beat(clock, name, period, seen)) for name, period in (("slow", 3), ("fast", 2))]
    await clock.run(6)
    assert seen == [("fast", 2), ("slow", 3), ("fast", 4), ("slow", 6), ("fast", 6)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert clock.sleeping == 0


async def test_a_jump_of_the_wall_clock_wakes_nobody_and_delays_nobody() -> None:
    clock = FakeClock()
    start = clock.now()
    sleeper = asyncio.create_task(clock.sleep(10))
    await asyncio.sleep(0)
    clock.jump(3600)
    assert (clock.now() - start).total_seconds() == 3600
    await asyncio.sleep(0)
    assert not sleeper.done()
    clock.jump(-7200)
    await clock.run(10)
    assert sleeper.done()
    assert (clock.now() - start).total_seconds() == -3590


async def test_no_sleep_still_lets_others_run() -> None:
    clock = FakeClock()
    other = asyncio.create_task(clock.sleep(0))
    await clock.sleep(0)
    await clock.sleep(-1)
    assert other.done()
