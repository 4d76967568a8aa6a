"""A whole database as rows of JSON, and back: the one form that SQLite and PostgreSQL have in common.

Tables are taken as the database itself describes them, not as this code would have them, so that a schema of another
version passes, too. Text and numbers stay what they are; bytes are base64.
"""

import base64
import importlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from raysvc.errors import DataDirError, Invalid
from raysvc.store.engine import file_of, open_snapshot, open_writer, parse
from raysvc.store.fault import translate
from raysvc.store.migration import OURS, Migrations, found_in, lock_schema, make_file
from raysvc.store.schema import version

Row = dict[str, Any]

# Rows that are fetched from the database, or given to it, at a time.
_ROWS = 1000


class Snapshot:
    """A database as it was at one moment, whatever is written meanwhile."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        self._tables = _tables(connection)
        self.schema = schema
        self.kind = connection.dialect.name

    @property
    def tables(self) -> list[str]:
        """The names of the tables; one that another refers to comes before it."""
        return list(self._tables)

    def rows(self, table: str) -> Iterator[Row]:
        """Yield a table's rows in the order of its primary key. Raises Unavailable, Damaged."""
        found = self._tables[table]
        binary = _binary(found)
        try:
            query = sa.select(found).order_by(*found.primary_key)
            for row in self._connection.execute(query, execution_options={"yield_per": _ROWS}).mappings():
                yield {
                    name: base64.b64encode(value).decode() if name in binary and value is not None else value
                    for name, value in row.items()
                }
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise translate(error) from error


class Filling:
    """An empty database that is being given its rows; nothing of it is there before the end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tables = _tables(connection)

    def add(self, table: str, rows: Iterable[Row]) -> None:
        """Keep rows, those they refer to came before. Raises Invalid for a table or column that is not there."""
        found = self._tables.get(table)
        if found is None:
            raise Invalid(f"The schema has no table {table!r}.", field="source")
        binary = _binary(found)
        pending: list[Row] = []
        for row in rows:
            if set(row) != set(found.columns.keys()):
                raise Invalid(f"The columns of table {table!r} are not those of its schema.", field="source")
            pending.append(
                {
                    name: base64.b64decode(value) if name in binary and value is not None else value
                    for name, value in row.items()
                }
            )
            if len(pending) == _ROWS:
                self._connection.execute(sa.insert(found), pending)
                pending = []
        if pending:
            self._connection.execute(sa.insert(found), pending)


@contextmanager
def snapshot(url: str, migrations: Migrations = OURS) -> Iterator[Snapshot]:
    """Open a database of this version or an older one, and hold its state of now. Blocks; writes nothing.

    Raises Unavailable where there is none, DataDirError where it is newer, empty or not ours.
    """
    parsed = parse(url)
    file = file_of(parsed)
    if file is not None and not file.exists():
        raise DataDirError(f"There is no database {file}. A server on PostgreSQL needs --database-url here, too.")
    engine = open_snapshot(parsed)
    try:
        with engine.connect() as connection:
            schema = found_in(connection, migrations)
            if schema is None:
                raise DataDirError("The database is empty: no raysvc has used it yet.")
            yield Snapshot(connection, schema)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise translate(error) from error
    finally:
        engine.dispose()


@contextmanager
def filling(url: str, schema: str, migrations: Migrations = OURS) -> Iterator[Filling]:
    """Make that schema in an empty database, to be given rows; all is kept at the end of the block, or nothing. Blocks.

    Raises DataDirError where the database is not empty or the schema is newer than this code.
    """
    if schema > migrations.head:
        raise DataDirError(f"The schema is {schema}, and this raysvc knows {migrations.head}: install the newer one.")
    parsed = parse(url)
    make_file(file_of(parsed))
    engine = open_writer(parsed)
    try:
        with engine.begin() as connection:
            lock_schema(connection)
            if found_in(connection, migrations) is not None:
                raise DataDirError("The database is in use already: it has tables of raysvc's. Name an empty one.")
            importlib.import_module("raysvc.store.migrations.run").upgrade(connection, migrations.folder, schema)
            yield Filling(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise translate(error) from error
    finally:
        engine.dispose()


def _tables(connection: Connection) -> dict[str, sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return {table.name: table for table in metadata.sorted_tables if table.name != version.name}


def _binary(table: sa.Table) -> frozenset[str]:
    return frozenset(column.name for column in table.columns if isinstance(column.type, sa.LargeBinary))
