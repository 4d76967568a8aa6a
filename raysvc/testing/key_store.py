"""Inference keys and their ledger in memory."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from raysvc.domain.key import Key, UsageBy, UsagePeriod, UsageTotal
from raysvc.domain.replica import Usage
from raysvc.errors import AlreadyExists, NotFound
from raysvc.ports.key import UsageBatch
from raysvc.testing.job_store import Gate

_FAILED = 400


class MemoryKeys:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._keys: dict[str, tuple[Key, str]] = {}

    async def add(self, key: Key, digest: str) -> None:
        self._gate.check()
        if key.id in self._keys or any(digest == other for _, other in self._keys.values()):
            raise AlreadyExists("There is already a record with this id, name or uid.")
        self._keys[key.id] = (key, digest)

    async def find(self, project: str) -> Sequence[tuple[Key, str]]:
        self._gate.check()
        found = [each for each in self._keys.values() if each[0].project == project]
        return sorted(found, key=lambda each: (each[0].created_at, each[0].id))

    async def by_digest(self, digest: str) -> Key | None:
        self._gate.check()
        return next((key for key, known in self._keys.values() if known == digest), None)

    async def revoke(self, project: str, key_id: str, at: datetime, by: str) -> Key:
        self._gate.check()
        key, digest = self._keys.get(key_id, (None, ""))
        if key is None or key.project != project:
            raise NotFound(f"There is no key {key_id!r} in project {project}.")
        if key.revoked_at is None:
            key = key.model_copy(update={"revoked_at": at, "revoked_by": by})
            self._keys[key_id] = (key, digest)
        return key


class MemoryLedger:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._marks: dict[tuple[str, str], int] = {}
        self._taken: list[tuple[str, str, Usage]] = []

    async def take(self, batch: UsageBatch) -> tuple[int, Sequence[Usage]]:
        self._gate.check()
        replica = (batch.uid, batch.replica)
        through = self._marks.get(replica, 0)
        fresh = [usage for usage in batch.usage if usage.sequence > through]
        if fresh:
            self._marks[replica] = through = max(usage.sequence for usage in fresh)
        self._taken += [(batch.project, batch.service, usage) for usage in fresh]
        return through, fresh

    async def totals(self, project: str, by: UsageBy, period: UsagePeriod) -> Sequence[UsageTotal]:
        self._gate.check()
        groups: dict[str, list[Usage]] = {}
        for owner, service, usage in self._taken:
            day = usage.at.astimezone(UTC).date()
            within = (period.since is None or day >= period.since) and (period.until is None or day <= period.until)
            if owner == project and within:
                of = {UsageBy.KEY: usage.key, UsageBy.SERVICE: service, UsageBy.DAY: day.isoformat()}[by]
                groups.setdefault(of, []).append(usage)
        return [_total(of, usages) for of, usages in sorted(groups.items())]

    async def spent(self, project: str) -> Mapping[str, int]:
        totals = await self.totals(project, UsageBy.KEY, UsagePeriod())
        return {total.of: total.prompt_tokens + total.completion_tokens for total in totals}


def _total(of: str, usages: Sequence[Usage]) -> UsageTotal:
    return UsageTotal(
        of=of,
        requests=len(usages),
        failed=sum(usage.status >= _FAILED for usage in usages),
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        estimated_tokens=sum(usage.prompt_tokens + usage.completion_tokens for usage in usages if usage.estimated),
    )
