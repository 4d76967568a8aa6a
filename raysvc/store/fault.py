"""What the databases' errors mean, in our words. Foreign errors end here; the callers chain them."""

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from raysvc.errors import AlreadyExists, Damaged, DiskFull, Invalid, RaysvcError, Unavailable

# SQLite's primary result codes (sqlite.org/rescode.html) -> what to tell. An extended code has one of them as low byte.
_SQLITE = {
    sqlite3.SQLITE_BUSY: "The database is held by another process for too long. Is a second server using this file?",
    sqlite3.SQLITE_LOCKED: "The database is held by another process for too long. Is a second server using this file?",
    sqlite3.SQLITE_READONLY: "The database cannot be written: check who owns the file, its directory, and the mount.",
    sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened: check that its directory exists and may be written.",
    sqlite3.SQLITE_IOERR: "The disk that holds the database reports an error. Check the disk and the system's log.",
}
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
DAMAGED = "The database is damaged. Stop the server, and restore the newest backup into a new directory."
_GONE = "The database does not answer. Nothing can be accepted until it does; try again later."
_FULL = "The disk that holds the database is full, so nothing was accepted. Free some space and try again."
# SQLSTATEs of PostgreSQL (its manual, appendix A).
_DISK_FULL = "53100"
_CONSTRAINT = "23"
_DATA = "22"
_LIMIT = "54"  # program limit: a row too large for an index
_UNIQUE = "23505"
_RACES = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_HELD_TOO_LONG = "25P03"  # idle in a transaction: this process was stopped for a while
_STANDBY = "25006"  # read-only: a replica that was not promoted (yet)
_CORRUPTED = frozenset({"XX001", "XX002"})  # data, index corrupted
_AWAY = frozenset({"08", "53", "55", "57", "58"})  # connection, resources, lock timeout, shut down, I/O
_REFUSED = frozenset({"28000", "28P01", "3D000", "42501"})  # user, password, no such database, no right to do this


def gone(error: Exception) -> bool:
    """Return whether there is no connection any more: a server was restarted, or an idle connection was cut."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def unusable(error: Exception) -> bool:
    """Return whether the connection that raised this is better thrown away."""
    return gone(error) or not of_one(error)


def of_one(error: Exception) -> bool:
    """Return whether one operation of a transaction caused this, so that the others may pass without it."""
    if not isinstance(error, DBAPIError):
        return True
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is not None:
        return sqlstate[:2] in {_DATA, _CONSTRAINT, _LIMIT} or sqlstate in _RACES
    return isinstance(error.orig, sqlite3.IntegrityError) or type(error.orig).__name__ == "DataError"


def passing(error: Exception) -> bool:
    """Return whether the same operation alone may well pass: another process took the row between look and write."""
    sqlstate = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    return sqlstate is not None and (sqlstate.startswith(_CONSTRAINT) or sqlstate in _RACES)


def translate(error: Exception) -> Exception:
    """Return the error of ours that says the same, chained; what is not the database's is returned as it is."""
    if not isinstance(error, SQLAlchemyError | sqlite3.Error):
        return error
    ours = _ours(error)
    ours.__cause__ = error
    return ours


def _ours(error: SQLAlchemyError | sqlite3.Error) -> RaysvcError:
    if isinstance(error, PoolTimeout):
        return Unavailable(_GONE)
    cause = error.orig if isinstance(error, DBAPIError) else error
    if _unique(cause):
        return AlreadyExists("There is already a record with this id, name or uid.")
    if type(cause).__name__ == "DataError":
        return Invalid("The database cannot keep one of the texts: it holds a NUL character or is not valid Unicode.")
    if (getattr(cause, "sqlstate", None) or "").startswith(_LIMIT):
        return Invalid("The database cannot keep one of the texts: it is too long for an index.")
    return _unavailable(cause) or RaysvcError("The database refused a statement of ours. Please report this bug.")


def _unique(cause: object) -> bool:
    if isinstance(cause, sqlite3.IntegrityError):
        return cause.sqlite_errorcode in {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
    return getattr(cause, "sqlstate", None) == _UNIQUE


def _unavailable(cause: BaseException | None) -> Unavailable | None:
    """Return what a failing database amounts to; None where it is our statement that was wrong."""
    if isinstance(cause, SQLAlchemyError):
        return None
    if isinstance(cause, sqlite3.Error):
        primary = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if primary == sqlite3.SQLITE_FULL:
            return DiskFull(_FULL)
        if primary in _CORRUPT:
            return Damaged(DAMAGED)
        return Unavailable(_SQLITE[primary]) if primary in _SQLITE else None
    return _postgres(getattr(cause, "sqlstate", None))


def _postgres(sqlstate: str | None) -> Unavailable | None:
    if sqlstate == _DISK_FULL:
        return DiskFull(_FULL)
    if sqlstate is None or sqlstate in {_STANDBY, _HELD_TOO_LONG} or sqlstate[:2] in _AWAY:
        return Unavailable(_GONE)
    if sqlstate in _REFUSED:
        return Unavailable(
            "The database refuses us: check the URL's user, password and database, and that user's rights."
        )
    return Damaged(DAMAGED) if sqlstate in _CORRUPTED else None
