"""Hints from young drivers' logs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raysvc.backends.local.watch import LogWatch
from raysvc.backends.rayjob.restlog import log_name
from raysvc.domain.job import JobRef
from raysvc.testing.clock import FakeClock

REF = JobRef(uid="0" * 16, attempt=1)


@pytest.fixture
async def seen(tmp_path: Path) -> AsyncIterator[tuple[FakeClock, list[JobRef]]]:
    clock, hints = FakeClock(), list[JobRef]()
    watch = LogWatch(hints.append, lambda: tmp_path, clock)
    running = asyncio.create_task(watch.run())
    watch.add(REF)
    yield clock, hints
    running.cancel()


async def test_a_log_that_grows_is_a_hint_the_first_few_times(
    seen: tuple[FakeClock, list[JobRef]], tmp_path: Path
) -> None:
    clock, hints = seen
    await clock.run(1)
    assert hints == []
    for count in (1, 2, 3, 4, 4, 4):
        with (tmp_path / log_name(REF)).open("a") as log:
            log.write("line\n")
        await clock.run(0.1)
        assert hints == [REF] * count


async def test_an_old_attempt_is_left_to_the_usual_looks(seen: tuple[FakeClock, list[JobRef]], tmp_path: Path) -> None:
    clock, hints = seen
    await clock.run(60)
    (tmp_path / log_name(REF)).write_text("late\n")
    await clock.run(1)
    assert hints == []
