"""The Keys and Ledger ports. Only the hash of a key's secret half is here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.key import Key, UsageBy, UsagePeriod, UsageTotal
from raysvc.domain.replica import Usage
from raysvc.errors import NotFound
from raysvc.ports.key import UsageBatch
from raysvc.store.instant import micros
from raysvc.store.reader import Reader
from raysvc.store.schema import inference_key as table
from raysvc.store.schema import usage_day, usage_mark
from raysvc.store.writer import Writer

_SUMS = ("requests", "failed", "prompt_tokens", "completion_tokens", "estimated_tokens")
_OF = {UsageBy.KEY: usage_day.c.key, UsageBy.SERVICE: usage_day.c.service, UsageBy.DAY: usage_day.c.day}
_FAILED = 400


class SqlKeys:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, key: Key, digest: str) -> None:
        row = {
            "id": key.id,
            "project": key.project,
            "digest": digest,
            "created_at": micros(key.created_at),
            "body": key.model_dump_json(),
        }
        await self._writer.execute(sa.insert(table).values(row))

    async def find(self, project: str) -> Sequence[tuple[Key, str]]:
        query = sa.select(table.c.body, table.c.digest).where(table.c.project == project)
        ordered = query.order_by(table.c.created_at, table.c.id)
        rows = await self._reader.run(lambda connection: connection.execute(ordered).all())
        return [(Key.model_validate_json(body), digest) for body, digest in rows]

    async def by_digest(self, digest: str) -> Key | None:
        query = sa.select(table.c.body).where(table.c.digest == digest)
        body = await self._reader.run(lambda connection: connection.scalar(query))
        return None if body is None else Key.model_validate_json(body)

    async def revoke(self, project: str, key_id: str, at: datetime, by: str) -> Key:
        return await self._writer.do_one(lambda connection: _revoke(connection, (project, key_id), at, by))


class SqlLedger:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def take(self, batch: UsageBatch) -> tuple[int, Sequence[Usage]]:
        return await self._writer.do_one(lambda connection: _take(connection, batch))

    async def totals(self, project: str, by: UsageBy, period: UsagePeriod) -> Sequence[UsageTotal]:
        of = _OF[by]
        # An integer again: PostgreSQL's sums of bigints are numerics.
        sums = [sa.cast(sa.func.sum(usage_day.c[name]), sa.BigInteger).label(name) for name in _SUMS]
        query = sa.select(of.label("of"), *sums).where(usage_day.c.project == project)
        if period.since is not None:
            query = query.where(usage_day.c.day >= period.since.isoformat())
        if period.until is not None:
            query = query.where(usage_day.c.day <= period.until.isoformat())
        ordered = query.group_by(of).order_by(of)
        rows = await self._reader.run(lambda connection: connection.execute(ordered).mappings().all())
        return [UsageTotal(**row) for row in rows]

    async def spent(self, project: str) -> Mapping[str, int]:
        used = sa.func.sum(usage_day.c.prompt_tokens + usage_day.c.completion_tokens)
        query = sa.select(usage_day.c.key, used).where(usage_day.c.project == project).group_by(usage_day.c.key)
        rows = await self._reader.run(lambda connection: connection.execute(query).all())
        return {key: int(tokens) for key, tokens in rows}


def _revoke(connection: Connection, name: tuple[str, str], at: datetime, by: str) -> Key:
    project, key_id = name
    place = (table.c.id == key_id, table.c.project == project)
    body = connection.scalar(sa.select(table.c.body).where(*place).with_for_update())
    if body is None:
        raise NotFound(f"There is no key {key_id!r} in project {project}.")
    key = Key.model_validate_json(body)
    if key.revoked_at is None:
        key = key.model_copy(update={"revoked_at": at, "revoked_by": by})
        connection.execute(sa.update(table).where(*place).values(body=key.model_dump_json()))
    return key


class _Day(NamedTuple):
    key: str
    day: str


def _take(connection: Connection, batch: UsageBatch) -> tuple[int, Sequence[Usage]]:
    mark = (usage_mark.c.uid == batch.uid, usage_mark.c.replica == batch.replica)
    # Locked, so that the same report through another server waits, and then finds nothing new.
    found = connection.scalar(sa.select(usage_mark.c.through).where(*mark).with_for_update())
    through = found or 0
    fresh = [usage for usage in batch.usage if usage.sequence > through]
    if not fresh:
        return through, []
    through = max(usage.sequence for usage in fresh)
    if found is None:
        row = {"uid": batch.uid, "replica": batch.replica, "through": through}
        connection.execute(sa.insert(usage_mark).values(row))
    else:
        connection.execute(sa.update(usage_mark).where(*mark).values(through=through))
    for place, sums in sorted(_by_day(fresh).items()):
        _count(connection, batch, place, sums)
    return through, fresh


def _by_day(fresh: Sequence[Usage]) -> dict[_Day, dict[str, int]]:
    days: dict[_Day, dict[str, int]] = {}
    for usage in fresh:
        day = _Day(usage.key, usage.at.astimezone(UTC).date().isoformat())
        sums = days.setdefault(day, dict.fromkeys(_SUMS, 0))
        tokens = usage.prompt_tokens + usage.completion_tokens
        sums["requests"] += 1
        sums["failed"] += usage.status >= _FAILED
        sums["prompt_tokens"] += usage.prompt_tokens
        sums["completion_tokens"] += usage.completion_tokens
        sums["estimated_tokens"] += tokens if usage.estimated else 0
    return days


def _count(connection: Connection, batch: UsageBatch, place: _Day, sums: dict[str, int]) -> None:
    row: dict[str, Any] = {"project": batch.project, "key": place.key, "service": batch.service, "day": place.day}
    where = [usage_day.c[name] == value for name, value in row.items()]
    added = {name: usage_day.c[name] + value for name, value in sums.items()}
    if connection.execute(sa.update(usage_day).where(*where).values(added)).rowcount == 0:
        connection.execute(sa.insert(usage_day).values({**row, **sums}))
