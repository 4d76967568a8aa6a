"""Records in memory."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic

from raysvc.domain.event import Event
from raysvc.errors import AlreadyExists, NotFound, StaleVersion
from raysvc.ports import Lease
from raysvc.ports.record import K
from raysvc.testing.job_store import Gate


class MemoryRecords(Generic[K]):
    """The Records port. Nothing here awaits, so each call is one step that no other task can see half of."""

    def __init__(self, gate: Gate, leases: Mapping[str, Lease], noun: str) -> None:
        self._gate = gate
        self._leases = leases
        self._noun = noun
        self._records: dict[str, K] = {}
        self._events: dict[str, list[Event]] = {}

    async def add(self, record: K, events: Sequence[Event]) -> None:
        self._gate.check()
        if self._named(record.project, record.id) is not None:
            raise AlreadyExists(f"Project {record.project!r} has a {self._noun} {record.id!r} already.", field="name")
        self._records[record.uid] = record
        self._events[record.uid] = list(events)

    async def get(self, project: str, name: str) -> K:
        self._gate.check()
        found = self._named(project, name)
        if found is None:
            raise NotFound(f"There is no {self._noun} {name!r} in project {project!r}.")
        return found

    async def get_by_uid(self, uid: str) -> K:
        self._gate.check()
        if uid not in self._records:
            raise NotFound(f"There is no {self._noun} with uid {uid!r}.")
        return self._records[uid]

    async def live(self) -> Sequence[K]:
        self._gate.check()
        return [record for _, record in sorted(self._records.items()) if not record.deleted]

    async def save(self, record: K, events: Sequence[Event], *, fence: Lease | None = None) -> None:
        self._gate.check()
        last = self._leases.get(fence.name) if fence is not None else None
        if fence is not None and (last is None or (last.holder, last.token) != (fence.holder, fence.token)):
            raise StaleVersion(f"The lease {fence.name!r} was taken by another; its holder goes on.")
        stored, expected = self._records.get(record.uid), events[0].seq - 1
        if stored is None:
            raise NotFound(f"There is no {self._noun} with uid {record.uid}; it was pruned.")
        if stored.version != expected:
            about = f"{self._noun.capitalize()} {record.uid}"
            raise StaleVersion(f"{about} is at version {stored.version}, not {expected}; read it again.")
        self._records[record.uid] = record
        self._events[record.uid] += events

    async def events(self, uid: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        self._gate.check()
        return [event for event in self._events.get(uid, ()) if event.seq > after][:limit]

    async def prune(self, *, finished_before: datetime, limit: int) -> Sequence[K]:
        self._gate.check()
        over = sorted(
            (record.finished_at, record.uid)
            for record in self._records.values()
            if record.deleted and record.finished_at is not None and record.finished_at < finished_before
        )
        gone = [self._records.pop(uid) for _, uid in over[:limit]]
        for record in gone:
            del self._events[record.uid]
        return gone

    def has(self, uid: str) -> bool:
        """Return whether there is such a record, deleted or not."""
        return uid in self._records

    def _named(self, project: str, name: str) -> K | None:
        there = (record for record in self._records.values() if not record.deleted)
        return next((record for record in there if (record.project, record.id) == (project, name)), None)
