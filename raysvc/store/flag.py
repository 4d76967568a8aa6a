"""The Flags port."""

import sqlalchemy as sa

from raysvc.store.reader import Reader
from raysvc.store.schema import flag as table
from raysvc.store.upsert import upsert
from raysvc.store.writer import Writer


class SqlFlags:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def get(self, name: str) -> str | None:
        query = sa.select(table.c.value).where(table.c.name == name)
        return await self._reader.run(lambda connection: connection.scalar(query))

    async def put(self, name: str, value: str | None) -> None:
        """Set it; None takes it away."""
        if value is None:
            await self._writer.execute(sa.delete(table).where(table.c.name == name))
        else:
            row = {"name": name, "value": value}
            await self._writer.do_one(lambda connection: upsert(connection, table, row))
