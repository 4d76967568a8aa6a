"""Bringing a database to the schema of this code. Alembic is loaded only where there is something to do."""

import importlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from raysvc.errors import DataDirError
from raysvc.store.engine import file_of, open_reader, open_writer
from raysvc.store.fault import translate
from raysvc.store.schema import HEAD, metadata, version

# Any number will do, as long as every raysvc takes the same: the lock under which PostgreSQL's schema is changed.
_LOCK = 7_237_970_109


@dataclass(frozen=True)
class Migrations:
    """A folder of Alembic revisions that are numbered 0001, 0002 …, and the last of them.

    `tables` are those that all of them make together: an empty database gets them without Alembic, which a new server
    then need not load.
    """

    folder: Path
    head: str
    tables: sa.MetaData | None = None


OURS = Migrations(Path(__file__).with_name("migrations"), HEAD, metadata)


def ready(url: URL, now: datetime, migrations: Migrations) -> None:
    """Make the schema of an empty database, migrate an older one, refuse a newer one (DataDirError). Blocks.

    May be repeated, and by several processes at once. A failed migration changes nothing.
    """
    try:
        make_file(file_of(url))
        with _engine(open_reader(url)) as engine, engine.connect() as connection:
            found = found_in(connection, migrations)
        if found != migrations.head:
            with _engine(open_writer(url)) as engine:
                if found is not None:
                    _back_up(engine, url, found, now)
                _migrate(engine, migrations)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise translate(error) from error


def _migrate(engine: Engine, migrations: Migrations) -> None:
    with engine.begin() as connection:
        lock_schema(connection)
        # Again, under the lock: another process may have been faster.
        found = found_in(connection, migrations)
        if found is None and migrations.tables is not None:
            migrations.tables.create_all(connection)
            connection.execute(sa.insert(version).values(version_num=migrations.head))
        elif found != migrations.head:
            importlib.import_module("raysvc.store.migrations.run").upgrade(connection, migrations.folder)


def lock_schema(connection: Connection) -> None:
    """Keep other processes of ours from changing the schema until the transaction ends; SQLite's keeps them anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


@contextmanager
def _engine(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


def make_file(file: Path | None) -> None:
    """Make an SQLite file if it is not there: private to its owner, and in WAL mode before it has its name.

    The switch to WAL waits for nobody (SQLite does not call its busy handler then), so that of several servers that
    open one new file some would fail. SQLite gives a file's log the mode of the file.
    """
    if file is None or file.exists():
        return
    with suppress(OSError):  # SQLite says what is wrong
        handle, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        os.close(handle)
        try:
            with closing(sqlite3.connect(draft)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
            os.link(draft, file)  # fails where another process was faster, and then that file is as good
        finally:
            Path(draft).unlink()


def found_in(connection: Connection, migrations: Migrations) -> str | None:
    """Return the version of the schema that is there, None where the database is empty; raises DataDirError."""
    tables = sa.inspect(connection).get_table_names()
    if version.name not in tables:
        if tables:
            raise DataDirError(
                f"The database holds tables that are not raysvc's (such as {tables[0]!r}). "
                "Give raysvc a database of its own, by --database-url."
            )
        return None
    found: Any = connection.scalar(sa.select(version.c.version_num))
    if found is None or not found.isdigit():
        raise DataDirError(f"The database's schema version is {found!r}, which is none of raysvc's. Restore a backup.")
    if found > migrations.head:
        raise DataDirError(
            f"The database is of a newer raysvc: its schema is {found}, this version knows {migrations.head}. Install "
            "that version again, or restore the backup that it made beside the database when it migrated."
        )
    return str(found)


def _back_up(engine: Engine, url: URL, found: str, now: datetime) -> None:
    """Copy an SQLite file beside itself. A server is backed up by its owner; there, a migration is one transaction."""
    file = file_of(url)
    if file is None:
        return
    copy = file.with_name(f"{file.name}.schema-{found}.{now:%Y%m%dT%H%M%SZ}.bak")
    copy.unlink(missing_ok=True)
    copy.touch(mode=0o600)
    # By the driver itself: it must be outside of the transaction that a connection of this engine always is in.
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(copy),))
    finally:
        connection.close()
