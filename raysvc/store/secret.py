"""The Secrets port: ciphertext and what is known of it without the key."""

from collections.abc import Sequence

import sqlalchemy as sa

from raysvc.domain.project import Secret
from raysvc.errors import NotFound
from raysvc.store.reader import Reader
from raysvc.store.schema import secret as table
from raysvc.store.upsert import upsert
from raysvc.store.writer import Writer


class SqlSecrets:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def put(self, secret: Secret, ciphertext: bytes) -> None:
        row = {
            "project": secret.project,
            "name": secret.name,
            "ciphertext": ciphertext,
            "body": secret.model_dump_json(),
        }
        await self._writer.do_one(lambda connection: upsert(connection, table, row))

    async def get(self, project: str, name: str) -> tuple[Secret, bytes]:
        query = sa.select(table.c.body, table.c.ciphertext).where(table.c.project == project, table.c.name == name)
        row = await self._reader.run(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise _not_found(project, name)
        return Secret.model_validate_json(row.body), row.ciphertext

    async def list(self, project: str) -> Sequence[Secret]:
        query = sa.select(table.c.body).where(table.c.project == project).order_by(table.c.name)
        bodies = await self._reader.run(lambda connection: connection.scalars(query).all())
        return [Secret.model_validate_json(body) for body in bodies]

    async def delete(self, project: str, name: str) -> None:
        gone = sa.delete(table).where(table.c.project == project, table.c.name == name)
        if await self._writer.execute(gone) == 0:
            raise _not_found(project, name)


def _not_found(project: str, name: str) -> NotFound:
    return NotFound(f"Project {project!r} has no secret {name!r}.")
