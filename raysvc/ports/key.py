"""Inference keys, and the ledger of what they used."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from raysvc.domain.key import Key, UsageBy, UsagePeriod, UsageTotal
from raysvc.domain.replica import Usage


class Keys(Protocol):
    async def add(self, key: Key, digest: str) -> None:
        """Keep a new key, by the SHA-256 (hex) of its secret."""

    async def find(self, project: str) -> Sequence[tuple[Key, str]]:
        """Return the project's keys with their digests, oldest first; those that are revoked, too."""

    async def by_digest(self, digest: str) -> Key | None:
        """Return the key whose secret has this SHA-256 (hex), revoked or not; None where there is none."""

    async def revoke(self, project: str, key_id: str, at: datetime, by: str) -> Key:
        """End a key, and return it. One that is revoked stays revoked since then. Raises NotFound."""


class UsageBatch(NamedTuple):
    """What one replica of a service reports, in order of `sequence`. `uid` is the service's."""

    project: str
    service: str
    uid: str
    replica: str
    usage: Sequence[Usage]


class Ledger(Protocol):
    """Counts each request once: a replica's sequence numbers only grow, and the highest one taken is kept with them."""

    async def take(self, batch: UsageBatch) -> tuple[int, Sequence[Usage]]:
        """Count what was not counted before, durably and in one transaction.

        Return the highest sequence number of the replica that is counted, and the usage that was new.
        """

    async def totals(self, project: str, by: UsageBy, period: UsagePeriod) -> Sequence[UsageTotal]:
        """Return what the project used, by key, service or day, in the order of that."""

    async def spent(self, project: str) -> Mapping[str, int]:
        """Return the tokens that each key of the project has ever used."""
