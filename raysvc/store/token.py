"""The Tokens port. Only the hash of a token's secret half is here."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from raysvc.domain.project import Token
from raysvc.errors import NotFound
from raysvc.store.instant import micros
from raysvc.store.reader import Reader
from raysvc.store.schema import token as table
from raysvc.store.writer import Writer

_BY_HASH = sa.select(table.c.body).where(table.c.secret_hash == sa.bindparam("secret_hash"))
_LIST = sa.select(table.c.body).order_by(table.c.created_at, table.c.id)


class SqlTokens:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, token: Token, secret_hash: str) -> None:
        row = {
            "id": token.id,
            "secret_hash": secret_hash,
            "created_at": micros(token.created_at),
            "body": token.model_dump_json(),
        }
        await self._writer.execute(sa.insert(table).values(row))

    async def by_hash(self, secret_hash: str) -> Token | None:
        body = await self._reader.run(lambda connection: connection.scalar(_BY_HASH, {"secret_hash": secret_hash}))
        return None if body is None else Token.model_validate_json(body)

    async def list(self) -> Sequence[Token]:
        return await self._reader.run(_all)

    async def revoke(self, token_id: str, at: datetime) -> None:
        """Raises NotFound. A token that is revoked already stays revoked since then."""
        await self._writer.do_one(lambda connection: _revoke(connection, token_id, at))


def _all(connection: Connection) -> Sequence[Token]:
    return [Token.model_validate_json(body) for body in connection.scalars(_LIST)]


def _revoke(connection: Connection, token_id: str, at: datetime) -> None:
    body = connection.scalar(sa.select(table.c.body).where(table.c.id == token_id).with_for_update())
    if body is None:
        raise NotFound(f"There is no token {token_id!r}.")
    token = Token.model_validate_json(body)
    if token.revoked_at is None:
        revoked = token.model_copy(update={"revoked_at": at})
        connection.execute(sa.update(table).where(table.c.id == token_id).values(body=revoked.model_dump_json()))
