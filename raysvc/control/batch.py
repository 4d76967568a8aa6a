"""Many of a kind at once, each with an outcome of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

Ask = TypeVar("Ask")
T = TypeVar("T")

# At work side by side. One that waits (for a webhook, for a secret) lets the next go on; those that wait for nothing
# are done one after the other, without the cost of a task for each.
_HANDS = 8
# So many in a row, some milliseconds, before what else waits for the event loop has its turn.
_STRETCH = 64


def batched(asks: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
    """Yield the asks in stretches that hold nobody up."""
    return (asks[start : start + _STRETCH] for start in range(0, len(asks), _STRETCH))


def at_once(do: Callable[[Ask], T], asks: Sequence[Ask]) -> list[T | Exception]:
    """Like `each`, for what waits for nothing."""
    outcomes: list[T | Exception] = []
    for ask in asks:
        try:
            outcomes.append(do(ask))
        except Exception as error:  # noqa: BLE001 whatever it is, it is the outcome
            outcomes.append(error)
    return outcomes


async def each(do: Callable[[Ask], Awaitable[T]], asks: Sequence[Ask]) -> list[T | Exception]:
    """Return what `do` returns or raises for each, in order."""
    if len(asks) <= 1:
        return [await _outcome(do, ask) for ask in asks]
    outcomes: dict[int, T | Exception] = {}
    left = iter(enumerate(asks))

    async def work() -> None:
        for place, ask in left:
            outcomes[place] = await _outcome(do, ask)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_HANDS, len(asks))):
            group.create_task(work())
    return [outcomes[place] for place in range(len(asks))]


async def _outcome(do: Callable[[Ask], Awaitable[T]], ask: Ask) -> T | Exception:
    try:
        return await do(ask)
    except Exception as error:  # noqa: BLE001 whatever it is, it is the outcome
        return error
