"""The Records port: one table for the records of a kind, one for their events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.event import Event
from raysvc.errors import AlreadyExists, NotFound, StaleVersion
from raysvc.ports import Lease
from raysvc.ports.record import K, Kept
from raysvc.store.instant import micros
from raysvc.store.job_row import event_rows
from raysvc.store.reader import Reader
from raysvc.store.schema import lease
from raysvc.store.writer import Writer


class SqlRecords(Generic[K]):
    """Records of the type `kind` in `table`, and its `events`. `advice`: what to do where a name is taken."""

    def __init__(
        self, writer: Writer, reader: Reader, *, kind: type[K], table: sa.Table, events: sa.Table, advice: str
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._kind = kind
        self._noun = table.name
        self._advice = advice
        self._table = table
        self._events = events
        body, there = sa.select(table.c.body), ~table.c.deleted
        self._get = body.where(table.c.project == sa.bindparam("project"), table.c.id == sa.bindparam("id"), there)
        self._by_uid = body.where(table.c.uid == sa.bindparam("uid"))
        self._live = body.where(there).order_by(table.c.uid)
        self._version = sa.select(table.c.version).where(table.c.uid == sa.bindparam("uid")).with_for_update()

    async def add(self, record: K, events: Sequence[Event]) -> None:
        row, rows = _row(record), event_rows(events)

        def write(connection: Connection) -> None:
            if connection.scalar(self._get, {"project": record.project, "id": record.id}) is not None:
                raise AlreadyExists(
                    f"Project {record.project!r} has a {self._noun} {record.id!r} already. {self._advice}",
                    field="name",
                )
            connection.execute(sa.insert(self._table).values(row))
            connection.execute(sa.insert(self._events), rows)

        await self._writer.do_one(write)

    async def get(self, project: str, name: str) -> K:
        body = await self._scalar(self._get, {"project": project, "id": name})
        if body is None:
            raise NotFound(f"There is no {self._noun} {name!r} in project {project!r}.")
        return self._read(body)

    async def get_by_uid(self, uid: str) -> K:
        body = await self._scalar(self._by_uid, {"uid": uid})
        if body is None:
            raise NotFound(f"There is no {self._noun} with uid {uid!r}.")
        return self._read(body)

    async def live(self) -> Sequence[K]:
        bodies = await self._reader.run(lambda connection: connection.scalars(self._live).all())
        return [self._read(body) for body in bodies]

    async def save(self, record: K, events: Sequence[Event], *, fence: Lease | None = None) -> None:
        row, rows, expected = _row(record), event_rows(events), events[0].seq - 1

        def write(connection: Connection) -> None:
            _check_fence(connection, fence)
            found = connection.scalar(self._version, {"uid": record.uid})
            if found is None:
                raise NotFound(f"There is no {self._noun} with uid {record.uid}; it was pruned.")
            if found != expected:
                about = f"{self._noun.capitalize()} {record.uid}"
                raise StaleVersion(f"{about} is at version {found}, not {expected}; read it again.")
            connection.execute(sa.update(self._table).where(self._table.c.uid == record.uid).values(row))
            connection.execute(sa.insert(self._events), rows)

        await self._writer.do_one(write)

    async def events(self, uid: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        table = self._events
        query = sa.select(table.c.body).where(table.c.uid == uid, table.c.seq > after)
        query = query.order_by(table.c.seq).limit(limit)
        bodies = await self._reader.run(lambda connection: connection.scalars(query).all())
        return [Event.model_validate_json(body) for body in bodies]

    async def prune(self, *, finished_before: datetime, limit: int) -> Sequence[K]:
        table = self._table
        over = sa.select(table.c.uid, table.c.body).where(
            table.c.deleted, table.c.finished_at < micros(finished_before)
        )
        over = over.order_by(table.c.finished_at, table.c.uid).limit(limit).with_for_update()

        def write(connection: Connection) -> list[str]:
            rows = connection.execute(over).all()
            connection.execute(sa.delete(table).where(table.c.uid.in_([row.uid for row in rows])))
            return [row.body for row in rows]

        return [self._read(body) for body in await self._writer.do_one(write)]

    def _read(self, body: str) -> K:
        return self._kind.model_validate_json(body)

    async def _scalar(self, query: sa.Select[Any], values: dict[str, Any]) -> str | None:
        return await self._reader.run(lambda connection: connection.scalar(query, values))


def _row(record: Kept) -> dict[str, Any]:
    return {
        "uid": record.uid,
        "project": record.project,
        "id": record.id,
        "finished_at": micros(record.finished_at),
        "deleted": record.deleted,
        "version": record.version,
        "body": record.text,
    }


def _check_fence(connection: Connection, fence: Lease | None) -> None:
    """Return where the lease is still held, and keep others from taking it until COMMIT; raises StaleVersion."""
    if fence is None:
        return
    query = sa.select(lease.c.holder, lease.c.token).where(lease.c.name == fence.name).with_for_update()
    found = connection.execute(query).first()
    if found is None or (found.holder, found.token) != (fence.holder, fence.token):
        raise StaleVersion(f"The lease {fence.name!r} was taken by another; its holder goes on.")
