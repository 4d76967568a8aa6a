"""Wake-ups inside one process: a record changed, a log grew. Only hints: whoever waits also looks by itself."""

import asyncio
from collections import defaultdict

# Whoever waits for a record or a log looks at least this often: another process may be the one that changes it.
POLL_S = 0.5


class Signals:
    """One topic a record's uid, one for the reconciler, and one each for those of services and clusters."""

    RECONCILER = "reconciler"
    SERVICES = "services"
    CLUSTERS = "clusters"

    def __init__(self) -> None:
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._pending: set[str] = set()

    def notify(self, topic: str) -> None:
        """Wake all who wait for the topic. One for a reconciler is remembered until it waits."""
        for event in self._waiters.get(topic, ()):
            event.set()
        if topic in {self.RECONCILER, self.SERVICES, self.CLUSTERS}:
            self._pending.add(topic)

    async def wait(self, topic: str, seconds: float) -> bool:
        """Return True when notified, False after that long."""
        if topic in self._pending:
            self._pending.discard(topic)
            return True
        event = asyncio.Event()
        self._waiters[topic].add(event)
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self._pending.discard(topic)
            self._waiters[topic].discard(event)
            if not self._waiters[topic]:
                del self._waiters[topic]
