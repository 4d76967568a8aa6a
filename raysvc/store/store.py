"""The Store: one writer, some readers, and a port on them for each kind of record."""

import asyncio
import sqlite3
from contextlib import suppress

from raysvc.errors import Damaged, RaysvcError
from raysvc.ports import Clock
from raysvc.store.cluster import SqlClusters
from raysvc.store.damage import Damage, examine, open_to_examine
from raysvc.store.engine import file_of, open_reader, open_writer, parse
from raysvc.store.flag import SqlFlags
from raysvc.store.job import SqlJobs
from raysvc.store.key import SqlKeys, SqlLedger
from raysvc.store.lease import SqlLeases
from raysvc.store.migration import OURS, Migrations, ready
from raysvc.store.package import SqlPackages
from raysvc.store.pool import SqlPools, SqlQuarantines
from raysvc.store.project import SqlProjects
from raysvc.store.reader import Reader
from raysvc.store.secret import SqlSecrets
from raysvc.store.service import SqlServices
from raysvc.store.sighting import SqlSightings
from raysvc.store.token import SqlTokens
from raysvc.store.writer import Writer

# After the start, whose reads are more urgent; and often enough that a damaged page is known before the backups that
# are good have been thrown away.
_EXAMINED_AFTER_S = 10.0
_EXAMINED_EVERY_S = 86_400.0


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
        self._damage = Damage(self._url)
        self._writer = Writer(open_writer(self._url), self._damage)
        self._reader = Reader(open_reader(self._url), self._damage)
        self.jobs = SqlJobs(self._writer, self._reader)
        self.leases = SqlLeases(self._writer)
        self.projects = SqlProjects(self._writer, self._reader)
        self.tokens = SqlTokens(self._writer, self._reader)
        self.secrets = SqlSecrets(self._writer, self._reader)
        self.packages = SqlPackages(self._writer, self._reader)
        self.flags = SqlFlags(self._writer, self._reader)
        self.pools = SqlPools(self._writer, self._reader)
        self.quarantines = SqlQuarantines(self._writer, self._reader)
        self.keys = SqlKeys(self._writer, self._reader)
        self.ledger = SqlLedger(self._writer, self._reader)
        self.services = SqlServices(self._writer, self._reader)
        self.clusters = SqlClusters(self._writer, self._reader)
        self.sightings = SqlSightings(self._writer, self._reader)

    async def open(self) -> None:
        """Connect, and make the schema or bring an older one up to date; an SQLite file is backed up before.

        Raises DataDirError for a newer schema or a database that is not ours, Unavailable where there is none, Damaged.
        """
        try:
            await asyncio.to_thread(ready, self._url, self._clock.now(), self._migrations)
        except Damaged as error:
            self._damage.note(error)
            raise self._damage.report() from error
        self._writer.open()
        self._reader.open()

    async def watch(self) -> None:
        """Read an SQLite file from end to end soon after the start, and each day; returns when damage is found."""
        examining = asyncio.create_task(self._examine())
        try:
            await self._damage.wait()
        finally:
            examining.cancel()

    def damage(self) -> Damaged | None:
        """Return what its operator must know of the damage that was found."""
        return self._damage.report() if self._damage.found else None

    async def _examine(self) -> None:
        file = file_of(self._url)
        await self._clock.sleep(_EXAMINED_AFTER_S)
        while file is not None:
            connection = open_to_examine(file)
            try:
                await asyncio.to_thread(examine, connection)
            except RaysvcError as error:
                self._damage.note(error)
            finally:
                with suppress(sqlite3.ProgrammingError):  # it is closed where it came to its end
                    connection.interrupt()
            await self._clock.sleep(_EXAMINED_EVERY_S)

    async def close(self) -> None:
        """Commit what was accepted, then disconnect. May be repeated."""
        await self._writer.close()
        await self._reader.close()
