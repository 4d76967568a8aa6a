"""A clock that stands still until it is told to move."""

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

_START = datetime(2026, 1, 1, tzinfo=UTC)
# Turns of the event loop in which those who woke act before time goes on: enough for chains of awaits without I/O.
_TURNS = 20


class FakeClock:
    """Virtual time: a sleep of an hour is over as soon as the test calls `advance(3600)` or awaits `run(3600)`."""

    def __init__(self, start: datetime = _START) -> None:
        self._start = start
        self._elapsed = timedelta()
        self._skew = timedelta()
        self._order = count()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._start + self._elapsed + self._skew

    async def sleep(self, seconds: float) -> None:
        """Wait until `seconds` of virtual time have passed; not at all for zero or less, but others run first."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + timedelta(seconds=seconds), next(self._order), woken))
        await woken

    @property
    def sleeping(self) -> int:
        """How many sleep now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass at once. Those whose sleep is over wake when the caller next awaits, all at the new time."""
        self._move(self._elapsed + timedelta(seconds=seconds))

    async def run(self, seconds: float) -> None:
        """Let time pass from one sleeper to the next, in order: each wakes at its own time and may sleep again."""
        end = self._elapsed + timedelta(seconds=seconds)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._move(self._sleepers[0][0])
            await self._settle()
        self._move(end)
        await self._settle()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP does. No time passes, and nobody wakes."""
        self._skew += timedelta(seconds=seconds)

    def _move(self, elapsed: timedelta) -> None:
        self._elapsed = elapsed
        while self._sleepers and self._sleepers[0][0] <= elapsed:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
