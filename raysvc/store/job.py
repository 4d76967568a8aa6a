"""The Jobs port: turns records into rows on the caller's side, and hands them to the writer or the reader."""

from collections.abc import Sequence
from datetime import datetime

from raysvc.domain.event import Event
from raysvc.domain.job import Job
from raysvc.domain.query import DueRow, JobQuery, Page, PlacedRow, SharingRow, WaitingRow
from raysvc.ports import Addition, Lease
from raysvc.store import job_find, job_read
from raysvc.store.instant import micros
from raysvc.store.job_row import NewJob, SavedJob
from raysvc.store.job_write import add_jobs, prune_jobs, save_jobs
from raysvc.store.reader import Reader
from raysvc.store.writer import Writer


class SqlJobs:
    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def add(self, job: Job, events: Sequence[Event], *, packages: Sequence[str] = ()) -> Job:
        kept, _ = await self._writer.do(add_jobs, NewJob.of(Addition(job, events, packages)))
        return kept

    async def add_once(
        self, job: Job, events: Sequence[Event], *, key: str, body_digest: str, packages: Sequence[str] = ()
    ) -> tuple[Job, bool]:
        return await self._writer.do(add_jobs, NewJob.of(Addition(job, events, packages, key, body_digest)))

    async def add_each(self, additions: Sequence[Addition]) -> Sequence[tuple[Job, bool] | Exception]:
        return await self._writer.do_each(add_jobs, [NewJob.of(addition) for addition in additions])

    async def by_key(self, project: str, key: str) -> tuple[Job, str] | None:
        return await self._reader.run(lambda connection: job_read.by_key(connection, project, key))

    async def get(self, project: str, job_id: str) -> Job:
        return await self._reader.run(lambda connection: job_read.get(connection, project, job_id))

    async def get_by_uid(self, uid: str) -> Job:
        return await self._reader.run(lambda connection: job_read.get_by_uid(connection, uid))

    async def find(self, query: JobQuery) -> Page[Job]:
        return await self._reader.run(lambda connection: job_find.find(connection, query))

    async def count_queued(self, project: str, most: int | None = None) -> int:
        return await self._reader.run(lambda connection: job_read.count_queued(connection, project, most))

    async def get_many(self, uids: Sequence[str]) -> Sequence[Job]:
        return await self._reader.run(lambda connection: job_read.get_many(connection, uids))

    async def due(self, now: datetime) -> Sequence[DueRow]:
        return await self._reader.run(lambda connection: job_read.due(connection, micros(now)))

    async def waiting(self, per_queue: int) -> Sequence[WaitingRow]:
        return await self._reader.run(lambda connection: job_read.waiting(connection, per_queue))

    async def placed(self) -> Sequence[PlacedRow]:
        return await self._reader.run(job_read.placed)

    async def sharing(self) -> Sequence[SharingRow]:
        return await self._reader.run(job_read.sharing)

    async def save(self, job: Job, events: Sequence[Event], *, fence: Lease | None = None) -> None:
        await self._writer.do(save_jobs, SavedJob.of(job, events, fence))

    async def events(self, uid: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        return await self._reader.run(lambda connection: job_read.events(connection, uid, after, limit))

    async def prune(self, *, finished_before: datetime, limit: int) -> Sequence[Job]:
        before = micros(finished_before)
        return await self._writer.do_one(lambda connection: prune_jobs(connection, before, limit))
