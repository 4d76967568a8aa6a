"""Services in memory, and their replicas as they last reported."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from raysvc.domain.replica import Sighting
from raysvc.domain.service import Service
from raysvc.ports import Lease
from raysvc.testing.job_store import Gate
from raysvc.testing.record_store import MemoryRecords


class MemoryServices(MemoryRecords[Service]):
    def __init__(self, gate: Gate, leases: Mapping[str, Lease]) -> None:
        super().__init__(gate, leases, "service")


class MemorySightings:
    def __init__(self, gate: Gate, services: MemoryServices) -> None:
        self._gate = gate
        self._services = services
        self._seen: dict[tuple[str, str], Sighting] = {}

    async def put(self, sightings: Sequence[Sighting]) -> None:
        self._gate.check()
        self._seen |= {(it.service, it.replica): it for it in sightings if self._services.has(it.service)}

    async def since(self, at: datetime) -> Sequence[Sighting]:
        self._gate.check()
        return [it for _, it in sorted(self._seen.items()) if it.at >= at and self._services.has(it.service)]

    async def forget(self, before: datetime) -> None:
        self._gate.check()
        self._seen = {name: it for name, it in self._seen.items() if it.at >= before}
