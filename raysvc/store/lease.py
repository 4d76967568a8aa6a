"""Leases: one row each, moved under its lock."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.ports import Lease
from raysvc.store.instant import instant, micros
from raysvc.store.schema import lease as table
from raysvc.store.writer import Writer

# A released lease keeps its row, and with it the token that the next holder must exceed.
_NOBODY = ""


class SqlLeases:
    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def acquire(self, name: str, holder: str, *, now: datetime, ttl_s: float) -> Lease | None:
        deadline = now + timedelta(seconds=ttl_s)
        return await self._writer.do_one(lambda connection: _acquire(connection, name, holder, now, deadline))

    async def get(self, name: str) -> Lease | None:
        """Read it by the writer's connection, like all that is done with leases: few do, every other second."""
        return await self._writer.do_one(lambda connection: _get(connection, name))

    async def release(self, lease: Lease) -> None:
        """Let go of it; without effect where somebody else has taken it since."""
        held = (table.c.name == lease.name, table.c.holder == lease.holder, table.c.token == lease.token)
        await self._writer.execute(sa.update(table).where(*held).values(holder=_NOBODY))


def _get(connection: Connection, name: str) -> Lease | None:
    row = connection.execute(sa.select(table).where(table.c.name == name)).one_or_none()
    if row is None:
        return None
    return Lease(name=name, holder=row.holder, token=row.token, deadline=instant(row.deadline))


def _acquire(connection: Connection, name: str, holder: str, now: datetime, deadline: datetime) -> Lease | None:
    until = micros(deadline)
    row = connection.execute(sa.select(table).where(table.c.name == name).with_for_update()).one_or_none()
    if row is None:
        connection.execute(sa.insert(table).values(name=name, holder=holder, token=1, deadline=until))
        return Lease(name=name, holder=holder, token=1, deadline=deadline)
    if row.holder not in {holder, _NOBODY} and micros(now) < row.deadline:
        return None
    # Its own lease, even a late one, goes on under its token: nobody held it in between, or the row would say so.
    token: int = row.token if row.holder == holder else row.token + 1
    connection.execute(sa.update(table).where(table.c.name == name).values(holder=holder, token=token, deadline=until))
    return Lease(name=name, holder=holder, token=token, deadline=instant(until))
