"""The Store: one writer, some readers, and a port on them for each kind of record."""

import asyncio

from raysvc.ports import Clock
from raysvc.store.engine import open_reader, open_writer, parse
from raysvc.store.flag import SqlFlags
from raysvc.store.job import SqlJobs
from raysvc.store.lease import SqlLeases
from raysvc.store.migration import OURS, Migrations, ready
from raysvc.store.package import SqlPackages
from raysvc.store.project import SqlProjects
from raysvc.store.reader import Reader
from raysvc.store.secret import SqlSecrets
from raysvc.store.token import SqlTokens
from raysvc.store.writer import Writer


class SqlStore:
    """All durable state but blobs, in SQLite (`sqlite:////path`) or PostgreSQL (`postgresql://…`).

    Belongs to one event loop; opened once, closed once. Every write that returned is on disk. After Unavailable (of
    which DiskFull is one kind) a write may or may not have been kept, and the store goes on as soon as the database
    does. Raises Invalid for a URL that is neither.
    """

    def __init__(self, url: str, clock: Clock, *, migrations: Migrations = OURS) -> None:
        self._url = parse(url)
        self._clock = clock
        self._migrations = migrations
        self._writer = Writer(open_writer(self._url))
        self._reader = Reader(open_reader(self._url))
        self.jobs = SqlJobs(self._writer, self._reader)
        self.leases = SqlLeases(self._writer)
        self.projects = SqlProjects(self._writer, self._reader)
        self.tokens = SqlTokens(self._writer, self._reader)
        self.secrets = SqlSecrets(self._writer, self._reader)
        self.packages = SqlPackages(self._writer, self._reader)
        self.flags = SqlFlags(self._writer, self._reader)

    async def open(self) -> None:
        """Connect, and make the schema or bring an older one up to date; an SQLite file is backed up before.

        Raises DataDirError for a newer schema or a database that is not ours, Unavailable where there is none.
        """
        await asyncio.to_thread(ready, self._url, self._clock.now(), self._migrations)
        self._writer.open()
        self._reader.open()

    async def close(self) -> None:
        """Commit what was accepted, then disconnect. May be repeated."""
        await self._writer.close()
        await self._reader.close()
