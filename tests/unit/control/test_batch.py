"""Many of a kind at once: side by side, in order, and without holding anybody up."""

import asyncio

from raysvc.control.batch import batched, each


async def test_outcomes_are_in_the_order_of_the_asks_and_an_error_is_one() -> None:
    async def half(number: int) -> int:
        await asyncio.sleep(0 if number % 3 else 0.001)
        if number % 2:
            raise ValueError(number)
        return number // 2

    outcomes = await each(half, range(40))
    assert [outcome for outcome in outcomes if not isinstance(outcome, Exception)] == list(range(20))
    assert [str(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [str(n) for n in range(1, 40, 2)]


async def test_those_that_wait_do_so_side_by_side_and_not_all_at_once() -> None:
    waiting, most = 0, 0
    go = asyncio.Event()

    async def wait(_: int) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await go.wait()
        waiting -= 1

    work = asyncio.create_task(each(wait, range(100)))
    for _ in range(20):  # turns of the loop, of which the first starts all that ever wait at once
        await asyncio.sleep(0)
    go.set()
    await work
    assert most == 8


async def test_none_are_none() -> None:
    async def never(_: int) -> None:
        raise AssertionError

    assert await each(never, []) == []
    assert list(batched([])) == []


def test_stretches_are_whole_together_and_in_order() -> None:
    stretches = list(batched(range(200)))
    assert [number for stretch in stretches for number in stretch] == list(range(200))
    assert max(map(len, stretches)) < 100
