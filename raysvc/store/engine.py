"""Connections: one engine that writes and one that reads, for a database URL. What each database must be told first."""

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from raysvc.errors import DataDirError, Invalid

READERS = 8
"""Connections, and threads, for queries: enough that some long lists leave room for the many short ones."""
# How long a write waits for another process's (a backup, the server of the version before) before it is refused.
_BUSY_S = 5.0
# Between two statements of a transaction. Less than a failover may take, more than a busy machine keeps us waiting.
_HELD_MS = 4000
_POSTGRES = {
    "application_name": "raysvc",
    "connect_timeout": "10",  # s
    "keepalives_idle": "30",  # s: a firewall that forgets idle connections is noticed, or kept from it
    "tcp_user_timeout": "30000",  # ms until a server that is cut off counts as gone
}

_SQLITE_WRITER = (
    "PRAGMA journal_mode = WAL",  # readers see the last commit and never wait for the writer
    "PRAGMA synchronous = FULL",  # a commit returns once its log is on the disk: what is accepted is kept
    "PRAGMA fullfsync = ON",  # macOS: past the drive's cache, too; no effect elsewhere
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -65536",  # KiB
    "PRAGMA wal_autocheckpoint = 4000",  # pages of 4 KiB: fewer, larger checkpoints; 20 % more submits/s than 1000
    "PRAGMA journal_size_limit = 67108864",  # bytes that a log keeps after a burst made it grow
)
_SQLITE_READER = ("PRAGMA query_only = ON", "PRAGMA cache_size = -8192")


class _Hinted(SQLiteCompiler):
    """Writes hints into the statement, as SQLAlchemy does for other databases: in SQLite's case, INDEXED BY."""

    def get_from_hint_text(self, _table: sa.FromClause, text: str | None) -> str | None:
        return text


def parse(url: str) -> URL:
    """Return the URL with the driver we use. Raises Invalid; never repeats the text, which may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is not None and parsed.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed is not None and parsed.drivername == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed
    raise Invalid(
        "The database URL must be sqlite:////path/to/file or postgresql://user:password@host/database.",
        field="database_url",
    ) from None


def file_of(url: URL) -> Path | None:
    """Return the file of an SQLite database, None for a server."""
    return Path(url.database) if url.drivername == "sqlite" and url.database else None


def open_writer(url: URL) -> Engine:
    """Return an engine for one connection that may write; each of its transactions holds the write lock."""
    if url.drivername == "sqlite":
        engine = _sqlite(url, _SQLITE_WRITER, pool_size=1)

        @sa.event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # At once, not at the first write: a later upgrade of a read lock could fail half way.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine
    engine = _postgres(url, pool_size=1)

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        # A server may be set up to lose the last commits of a crash; what we accept must not be among them.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        # A process that is stopped within a transaction must not hold its rows against the one that takes over.
        connection.execute(f"SELECT set_config('idle_in_transaction_session_timeout', '{_HELD_MS}', false)")
        connection.commit()

    return engine


def open_reader(url: URL) -> Engine:
    """Return an engine for READERS connections; each statement is a transaction and sees what is committed."""
    engine = _sqlite(url, _SQLITE_READER, READERS) if url.drivername == "sqlite" else _postgres(url, READERS)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def open_snapshot(url: URL) -> Engine:
    """Return an engine for one connection that reads: all its statements see the database as the first one did."""
    if url.drivername != "sqlite":
        engine = _postgres(url, pool_size=1)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    engine = _sqlite(url, _SQLITE_READER, pool_size=1)

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _sqlite(url: URL, pragmas: tuple[str, ...], pool_size: int) -> Engine:
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,  # an error's text must not carry a spec or a hash
        connect_args={"timeout": _BUSY_S, "check_same_thread": False},
    )

    engine.dialect.statement_compiler = _Hinted

    @sa.event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver starts no transaction of its own
        for pragma in pragmas:
            connection.execute(pragma)

    return engine


def _postgres(url: URL, pool_size: int) -> Engine:
    try:
        return sa.create_engine(
            url.update_query_dict({**_POSTGRES, **url.query}),
            pool_size=pool_size,
            max_overflow=0,
            hide_parameters=True,
        )
    except ModuleNotFoundError as error:
        raise DataDirError("PostgreSQL needs its driver: pip install 'raysvc[postgres]'.") from error
