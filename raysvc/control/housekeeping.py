"""What is done now and then by the leader: orphans, old packages, old history."""

from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter

import structlog

from raysvc.control.lease import Leadership
from raysvc.control.logbook import Archive
from raysvc.control.vault import package_key, upload_of
from raysvc.domain.job import Job, JobRef
from raysvc.domain.model import Model
from raysvc.domain.observation import ENDED, Seen
from raysvc.errors import NotFound, RaysvcError
from raysvc.ports import Backend, Blobs, Clock, Store

log = structlog.get_logger()

EVERY_S = 30.0
BATCH = 200
# What is pruned in one go: 300 jobs a second over half a minute. A batch holds the store's writer for 12 ms.
MOST_BATCHES = 50
STEP = 20
# How often bytes without a record are looked for, and how old they must be: no upload takes as long.
UPLOADS_EVERY = timedelta(hours=1)
UPLOAD_GRACE = timedelta(days=1)


class Retention(Model):
    """How long and how much of what is over is kept. None: for ever, or however much."""

    finished_jobs: timedelta | None = timedelta(days=30)
    log_bytes: int | None = None
    on_cluster: timedelta = timedelta(hours=1)


def claimed(job: Job | None, ref: JobRef, now: datetime, keep: timedelta) -> bool:
    """Return whether an external object has a record that wants it. Pure.

    All attempts of a live job stay, so that Ray itself refuses a late duplicate; an ended job's last attempt stays a
    while, so that Ray's own dashboard and `ray list jobs` still show it.
    """
    if job is None or job.deleted or ref.attempt > job.attempt:
        return False
    if job.live:
        return True
    return ref.attempt == job.attempt and job.finished_at is not None and now - job.finished_at < keep


class Housekeeper:
    """Each chore is idempotent and may be cut off anywhere."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        blobs: Blobs,
        archive: Archive,
        clock: Clock,
        retention: Retention,
    ) -> None:
        self._store = store
        self._backend = backend
        self._blobs = blobs
        self._archive = archive
        self._clock = clock
        self._retention = retention
        self._uploads_at: datetime | None = None
        # Attempts of ended jobs that were seen to have ended, too: they need no second look.
        self._over: set[JobRef] = set()

    async def run(self, leadership: Leadership) -> None:
        """Do the chores every half minute while the lease is held, until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            if not leadership.held:
                continue
            for chore in (self.sweep, self.collect_packages, self.sweep_uploads, self.prune):
                try:
                    await chore()
                except RaysvcError as error:
                    log.warning("chore failed, will be repeated", chore=chore.__name__, error=error.message)
                except Exception:
                    log.exception("chore failed, will be repeated", chore=chore.__name__)

    async def sweep(self) -> int:
        """Delete owned objects on the cluster that no record claims; return how many.

        Also those that go on though their job has ended, or is at a later attempt: a server that died, or was held up,
        may have sent a submit that Ray took after the next one had looked, seen nothing, and gone on.
        """
        swept, over = 0, set()
        async for ref in self._backend.jobs.owned():
            try:
                job = await self._store.jobs.get_by_uid(ref.uid)
            except NotFound:
                job = None
            if not claimed(job, ref, self._clock.now(), self._retention.on_cluster):
                log.info("orphan deleted", ref=ref.name)
                await self._backend.jobs.delete(ref)
                swept += 1
            elif job is not None and (not job.live or ref.attempt < job.attempt):
                if ref in self._over or (seen := (await self._backend.jobs.observe(ref)).seen) in ENDED:
                    over.add(ref)
                elif seen in {Seen.WAITING, Seen.PENDING, Seen.RUNNING}:
                    log.info("late attempt ended: its job had gone on before it began", ref=ref.name)
                    # Of a live job its name is kept, so that Ray refuses it should it come once more.
                    await (self._backend.jobs.stop(ref) if job.live else self._backend.jobs.delete(ref))
                    swept += 1
        self._over = over
        return swept

    async def collect_packages(self) -> int:
        """Remove packages that no live job names and whose pin is over; return how many."""
        packages = await self._store.packages.remove_unreferenced(self._clock.now(), BATCH)
        for package in packages:
            await self._blobs.delete(package_key(package))
            log.info("package collected", project=package.project, package=package.name, bytes=package.size)
        return len(packages)

    async def sweep_uploads(self) -> int:
        """Delete the bytes of uploads that no record came of, since their server died in between; return how many.

        Once an hour, and only of uploads that began a day ago: one that is on its way has no record yet either.
        """
        now = self._clock.now()
        if self._uploads_at is not None and timedelta(0) <= now - self._uploads_at < UPLOADS_EVERY:
            return 0
        old = []
        async for key in self._blobs.keys("packages/"):
            upload = upload_of(key)
            if upload is not None and now - upload[1] >= UPLOAD_GRACE:
                old.append((upload[0], key))
        swept = 0
        for project, uploads in groupby(sorted(old), key=itemgetter(0)):
            # Read after the keys: a record that came before then is seen.
            kept = {package_key(package) for package in await self._store.packages.find(project)}
            for _, key in uploads:
                if key not in kept:
                    await self._blobs.delete(key)
                    log.info("bytes of an unfinished upload deleted", key=key)
                    swept += 1
        self._uploads_at = now
        return swept

    async def prune(self) -> int:
        """Remove jobs that ended long ago, or the oldest while logs take too much, with all that is theirs.

        Returns how many. Each is said in our log.
        """
        pruned = 0
        if self._retention.finished_jobs is not None:
            before = self._clock.now() - self._retention.finished_jobs
            for _ in range(MOST_BATCHES):
                batch = await self._prune(before, BATCH, "age")
                pruned += batch
                if batch < BATCH:
                    break
        most = self._retention.log_bytes
        while most is not None and await self._blobs.size("logs/") > most:
            oldest = await self._prune(self._clock.now(), STEP, "size of logs")
            if not oldest:
                break  # what is left belongs to jobs that live
            pruned += oldest
        return pruned

    async def _prune(self, finished_before: datetime, limit: int, why: str) -> int:
        jobs = await self._store.jobs.prune(finished_before=finished_before, limit=limit)
        for job in jobs:
            await self._backend.artifacts.delete(job.uid)
            await self._archive.delete(job.uid)
            log.info("job pruned", job_id=job.id, uid=job.uid, project=job.project, why=why)
        return len(jobs)
