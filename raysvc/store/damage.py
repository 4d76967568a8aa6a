"""Whether the database was found damaged. From then on it is neither read nor written: the next answer could be a lie.

SQLite has no checksums over its pages. It notices a damaged one where it reads it and the structure makes no sense, so
`examine` reads all of them now and then. What it cannot notice (a byte within a text) the chain of events shows:
`raysvc restore FILE --dry-run` checks it for each job of a backup.
"""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import URL

from raysvc.errors import Damaged
from raysvc.store.engine import file_of
from raysvc.store.fault import DAMAGED, translate

# While a file is examined: so many of SQLite's steps (1.4 ms of processor time, and the disk's), then a rest that is so
# many times as long. All at once, 13 GiB take a core for a minute, and the disk from everybody else.
_STEPS = 20_000
_RESTS = 9
_LONGEST_REST_S = 0.05
_STOPPED = "The database is damaged, so this server stops. Its log says which file it is, and what to do."


class Damage:
    """Belongs to the event loop of the store."""

    def __init__(self, url: URL) -> None:
        self._where = str(file_of(url) or f"{url.database} on {url.host or 'this machine'}")
        self._found = asyncio.Event()
        self._what = ""

    def note(self, error: object) -> None:
        """Remember it, if that is what the error says."""
        if isinstance(error, Damaged) and not self._found.is_set():
            cause = error.__cause__
            self._what = str(getattr(cause, "orig", cause))
            self._found.set()

    def refuse(self) -> None:
        """Raise Damaged where damage was found before."""
        if self._found.is_set():
            raise Damaged(_STOPPED)

    async def wait(self) -> None:
        """Return when damage is found."""
        await self._found.wait()

    @property
    def found(self) -> bool:
        return self._found.is_set()

    def report(self) -> Damaged:
        """Return what its operator must know."""
        return Damaged(
            f"The database {self._where} is damaged ({self._what}). The server has stopped, so that nothing is built "
            "on it. Check the disk, keep the file, and restore the newest backup into a new directory: "
            "raysvc restore FILE --data-dir NEW"
        )


class _Rest:
    """Leaves others nine tenths of a core and of the disk."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self) -> None:
        # Not longer, since SQLite walks through a large table in one step: nobody must wait for that rest who stops us.
        time.sleep(min(_LONGEST_REST_S, _RESTS * (time.monotonic() - self._since)))
        self._since = time.monotonic()


def open_to_examine(file: Path) -> sqlite3.Connection:
    """Return a connection for `examine`, which any thread may interrupt."""
    return sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, check_same_thread=False)


def examine(connection: sqlite3.Connection) -> None:
    """Read every page of an SQLite file. Raises Damaged at the first that is wrong, and what else the disk reports.

    Blocks: 1 s of processor time a GiB, and the time of the disk; the server's own connections go on meanwhile. Closes
    the connection.
    """
    try:
        with closing(connection):
            connection.set_progress_handler(_Rest(), _STEPS)
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise translate(error) from error
    if said != "ok":
        raise Damaged(DAMAGED) from sqlite3.DatabaseError(said)
