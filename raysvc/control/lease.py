"""Leadership: the right to cause effects, for a while."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from raysvc.control.signal import Signals
from raysvc.errors import RaysvcError, Unavailable
from raysvc.ports import Clock, Lease, Leases

log = structlog.get_logger()

NAME = "reconciler"
# A dead leader is replaced within the sum of the two: its lease runs out, and the next one looks this often.
TTL_S = 6.0
RENEW_S = 1.5
# No effect begins, or goes on, this close to the end of the lease: a clock may be off, and an effect takes time.
MARGIN = timedelta(seconds=2)
_OVER = "The lease of the reconciler is over or nearly so; its next holder goes on."


class Leadership:
    """Holds the lease for this process, as long as it can."""

    def __init__(self, leases: Leases, clock: Clock, signals: Signals, holder: str) -> None:
        self._leases = leases
        self._clock = clock
        self._signals = signals
        self._holder = holder
        self._lease: Lease | None = None
        self._until = 0.0
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._said: bool | None = None
        self._limits: set[asyncio.Timeout] = set()

    @property
    def held(self) -> bool:
        """Whether an effect may begin now."""
        return self._left_s() > 0

    @property
    def lease(self) -> Lease | None:
        """The lease as it was last had, to fence off what is written under it; None where somebody else has it."""
        return self._lease

    def check(self) -> None:
        """Return where an effect may begin; raises Unavailable where the lease is over or too near its end."""
        if not self.held:
            raise Unavailable(_OVER)

    @asynccontextmanager
    async def effect(self) -> AsyncIterator[None]:
        """Let an effect go on while the lease is held, and cut it off where it is not: effects can be repeated.

        Raises Unavailable then, as `check` does. A process that was stopped and wakes up finds the time to be over.
        """
        self.check()
        try:
            async with asyncio.timeout(self._left_s()) as limit:
                self._limits.add(limit)
                yield
        except TimeoutError as error:
            raise (Unavailable(_OVER) if limit.expired() else error) from error
        finally:
            self._limits.discard(limit)

    async def renew(self) -> None:
        """Take the lease or prolong it, once."""
        began = _now()
        lease = await self._leases.acquire(NAME, self._holder, now=self._clock.now(), ttl_s=TTL_S)
        self._lease = lease or await self._take_over(began)
        self._until = began + TTL_S
        until = _now() + self._left_s()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(until)
        self._say(held=self._lease is not None)

    async def run(self) -> None:
        """Renew until cancelled, however long an effect takes. While the store does not answer the lease runs out."""
        while True:
            try:
                await self.renew()
            except RaysvcError as error:
                log.warning("lease not renewed, will be tried again", error=error.message)
            await self._clock.sleep(RENEW_S)

    async def release(self) -> None:
        """Let the next one take it at once. May be repeated."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await self._leases.release(lease)

    def _left_s(self) -> float:
        """Return for how long effects may go on, seconds; not positive where none may."""
        if self._lease is None:
            return 0.0
        # By the clock that others see, and by one that nobody sets back.
        left_s = min((self._lease.deadline - self._clock.now()).total_seconds(), self._until - _now())
        return left_s - MARGIN.total_seconds()

    async def _take_over(self, now: float) -> Lease | None:
        """Take a lease that its holder has not renewed for as long as it lasts, though by our clock it is not over.

        The clock was set back since, or is behind its holder's: nobody else would lead until it has caught up.
        """
        seen = await self._leases.get(NAME)
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if seen is None or now - self._seen_at <= TTL_S:
            return None
        return await self._leases.acquire(NAME, self._holder, now=seen.deadline, ttl_s=TTL_S)

    def _say(self, *, held: bool) -> None:
        if held is self._said:
            return
        self._said = held
        if held:
            log.info("this server leads: it starts and stops jobs", holder=self._holder)
        else:
            log.info("this server stands by: another one leads, and this one takes over where that one fails")
        self._signals.notify(Signals.RECONCILER)


def _now() -> float:
    return asyncio.get_running_loop().time()
