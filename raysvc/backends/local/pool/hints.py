"""What is worth a look: each thing once, however often it is named before somebody asks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

T = TypeVar("T")
# While nobody asks, what is named is forgotten beyond so many: they are only hints.
_MOST = 10_000
# Between two rounds: a job that makes a noise of its own must not keep the loop busy.
_PAUSE_S = 0.005


class Hints(Generic[T]):
    """Named by `add`, yielded once by `follow`, to one follower."""

    def __init__(self) -> None:
        self._named: dict[T, None] = {}
        self._some = asyncio.Event()

    def add(self, thing: T) -> None:
        if len(self._named) < _MOST:
            self._named[thing] = None
            self._some.set()

    async def follow(self) -> AsyncIterator[T]:
        """Yield what is named, for ever."""
        while True:
            await self._some.wait()
            self._some.clear()
            named, self._named = self._named, {}
            for thing in named:
                yield thing
            await asyncio.sleep(_PAUSE_S)
