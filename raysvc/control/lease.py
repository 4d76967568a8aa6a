"""Leadership: the right to cause effects, for a while."""

from datetime import timedelta

import structlog

from raysvc.control.signal import Signals
from raysvc.errors import RaysvcError, Unavailable
from raysvc.ports import Clock, Lease, Leases

log = structlog.get_logger()

NAME = "reconciler"
# A dead leader is replaced within this time.
TTL_S = 8.0
RENEW_S = 2.0
# No effect begins this close to the end of the lease: a clock may be off, and an effect takes time.
MARGIN = timedelta(seconds=2)


class Leadership:
    """Holds the lease for this process, as long as it can."""

    def __init__(self, leases: Leases, clock: Clock, signals: Signals, holder: str) -> None:
        self._leases = leases
        self._clock = clock
        self._signals = signals
        self._holder = holder
        self._lease: Lease | None = None

    @property
    def held(self) -> bool:
        """Whether an effect may begin now."""
        return self._lease is not None and self._clock.now() < self._lease.deadline - MARGIN

    def check(self) -> None:
        """Return where an effect may begin; raises Unavailable where the lease is over or too near its end."""
        if not self.held:
            raise Unavailable("The lease of the reconciler is over or nearly so; its next holder goes on.")

    async def renew(self) -> None:
        """Take the lease or prolong it, once."""
        had = self._lease is not None
        self._lease = await self._leases.acquire(NAME, self._holder, now=self._clock.now(), ttl_s=TTL_S)
        if had != (self._lease is not None):
            log.info("reconciler lease", held=self._lease is not None, holder=self._holder)
            self._signals.notify(Signals.RECONCILER)

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
