"""Insert or replace a row by its primary key, in words that every database has."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def upsert(connection: Connection, table: sa.Table, row: dict[str, Any]) -> None:
    """Keep the row. Where another process inserts the same one first, the writer tries again and updates it."""
    key = [column == row[column.name] for column in table.primary_key]
    if connection.execute(sa.update(table).where(*key).values(row)).rowcount == 0:
        connection.execute(sa.insert(table).values(row))
