"""What of a key's budget is where: leased to replicas, which may spend it without asking. Plain numbers.

The sum of what is leased never exceeds what is left, so that replicas together cannot overspend a budget, however long
one of them is cut off from us. What a server leased before it started is not known to it: for the first seconds a
replica may hold an older lease beside the new ones.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

# A replica that has been silent for longer is gone, with what its lease had left.
FORGOTTEN = timedelta(minutes=10)


@dataclass
class _Held:
    """A key's leases by the replica that holds them, and their sum."""

    leases: dict[str, int] = field(default_factory=dict)
    total: int = 0

    def set(self, replica: str, tokens: int) -> None:
        self.total += tokens - self.leases.get(replica, 0)
        self.leases[replica] = tokens

    def drop(self, replica: str) -> None:
        self.total -= self.leases.pop(replica, 0)


class Leases:
    """The leases of every key with a budget."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._heard: dict[str, datetime] = {}

    def hear(self, replica: str, now: datetime) -> None:
        """Note that a replica asks, which it does before its leases are made; forget those that have not for long."""
        gone = [name for name, at in self._heard.items() if now - at > FORGOTTEN and name != replica]
        for name in gone:
            del self._heard[name]
            for held in self._held.values():
                held.drop(name)
        self._heard[replica] = now

    def lease(self, key: str, replica: str, *, left: int, sharers: int) -> int:
        """Return what the replica may spend from now on, in place of its earlier lease.

        `left` is the budget less all that is in the ledger; `sharers` how many replicas the key opens.
        """
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held()
        elsewhere = held.total - held.leases.get(replica, 0)
        tokens = max(0, min(-(-left // sharers), left - elsewhere))
        held.set(replica, tokens)
        return tokens

    def charge(self, key: str, replica: str, tokens: int) -> None:
        """Note that the replica has spent so much of its lease: it is in the ledger now."""
        held = self._held.get(key)
        if held is not None and replica in held.leases:
            held.set(replica, max(0, held.leases[replica] - tokens))

    def forget(self, key: str) -> None:
        """Drop all leases of a key that is no more."""
        self._held.pop(key, None)
