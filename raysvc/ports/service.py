"""Services as they are kept, and their replicas as servers tell of them to one another."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from raysvc.domain.replica import Sighting
from raysvc.domain.service import Service
from raysvc.ports.record import Records

ServiceRecords = Records[Service]


class Sightings(Protocol):
    """Replicas as they last reported, to whichever server."""

    async def put(self, sightings: Sequence[Sighting]) -> None:
        """Keep them instead of what was kept of these replicas. Those whose service is not there are left out."""

    async def since(self, at: datetime) -> Sequence[Sighting]:
        """Return those that were seen then or later, by service and replica."""

    async def forget(self, before: datetime) -> None:
        """Remove those that were seen before then."""
