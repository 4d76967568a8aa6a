"""The Pools and Quarantines ports."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.node import Quarantine
from raysvc.domain.pool import Pool
from raysvc.errors import NotFound
from raysvc.store.reader import Reader
from raysvc.store.schema import pool, quarantine
from raysvc.store.upsert import upsert
from raysvc.store.writer import Writer


class SqlPools:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def put(self, pools: Sequence[Pool]) -> None:
        rows = [{"name": each.name, "body": each.model_dump_json()} for each in pools]

        def write(connection: Connection) -> None:
            for row in rows:
                upsert(connection, pool, row)

        await self._writer.do_one(write)

    async def list(self) -> Sequence[Pool]:
        query = sa.select(pool.c.body).order_by(pool.c.name)
        bodies = await self._reader.run(lambda connection: connection.scalars(query).all())
        return [Pool.model_validate_json(body) for body in bodies]

    async def delete(self, name: str) -> None:
        if await self._writer.execute(sa.delete(pool).where(pool.c.name == name)) == 0:
            raise NotFound(f"There is no pool {name!r}.")


class SqlQuarantines:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def put(self, found: Quarantine) -> None:
        row = {"node": found.node, "body": found.model_dump_json()}
        await self._writer.do_one(lambda connection: upsert(connection, quarantine, row))

    async def list(self) -> Sequence[Quarantine]:
        query = sa.select(quarantine.c.body).order_by(quarantine.c.node)
        bodies = await self._reader.run(lambda connection: connection.scalars(query).all())
        return [Quarantine.model_validate_json(body) for body in bodies]

    async def delete(self, node: str) -> None:
        await self._writer.execute(sa.delete(quarantine).where(quarantine.c.node == node))
