"""The one loop of effects: due -> observe -> decide -> effect -> save. Only the holder of the lease runs it.

Every step may be the last before a `kill -9`: effects are idempotent by Ref and come before the save that records
them, so that a crash repeats one, and never skips one.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from raysvc.control import metric
from raysvc.control.decide import Decision, Effect, admit, changed, decide, refused
from raysvc.control.lease import Leadership
from raysvc.control.logbook import Archive
from raysvc.control.queue import Queue
from raysvc.control.signal import Signals
from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import PLACED, Job, JobPhase
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.query import DueRow
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.errors import Damaged, Invalid, NotFound, RaysvcError, StaleVersion
from raysvc.ports import Backend, Clock, Store, Watchful

log = structlog.get_logger()

IDLE_S = 1.0
# The scheduler passes at most this often: with a thousand submits a second it must not run for each.
PASS_S = 0.05
# Rest for each row that was read: so reading takes the loop a tenth of the time at most, however many there are.
ROW_S = 50e-6
AT_ONCE = 16
# Work on a job that takes longer (a large package, a pool that starts) goes on beside the loop.
PATIENCE_S = 0.25
# Looks in one pass: 10 ms of the event loop, so that thousands of jobs keep neither new ones nor requests waiting.
DUE_LIMIT = 100
# Longer than any clock is set back by.
FAR = timedelta(days=366)
_QUEUED = JobPhase.QUEUED
ACTOR = "raysvc"


@dataclass(frozen=True)
class World:
    """What the loop works with."""

    store: Store
    backend: Backend
    queue: Queue
    archive: Archive
    signals: Signals
    clock: Clock
    cluster: str


class Reconciler:
    """Carries out what `schedule` and `decide` say."""

    def __init__(self, world: World, leadership: Leadership) -> None:
        self._world = world
        self._leadership = leadership
        self._look_at: dict[str, datetime] = {}
        # The versions that those times are for: somebody else's change, a stop say, is looked at at once.
        self._versions: dict[str, int] = {}
        self._placed: set[str] = set()
        self._waiting = 0
        self._hinted: set[str] = set()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._passed_at: datetime | None = None
        self._read_at = datetime.min.replace(tzinfo=UTC)
        self._latest: datetime | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Reconcile until cancelled; a failing pass is logged and tried again."""
        listening = asyncio.create_task(self._listen(), name="hints of the backend")
        try:
            await self._run()
        finally:
            listening.cancel()
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _run(self) -> None:
        while True:
            wait_s = IDLE_S
            try:
                if self._leadership.held:
                    with metric.RECONCILE.time():
                        wait_s = await self.step()
                else:
                    await self._world.archive.close()
            except RaysvcError as error:
                log.warning("reconcile pass failed, will be repeated", error=error.message)
            except Exception:
                log.exception("reconcile pass failed, will be repeated")
            await self._world.signals.wait(Signals.RECONCILER, wait_s)

    async def _listen(self) -> None:
        """Look at once where the backend notices something by itself; without such hints the loop polls."""
        driver = self._world.backend.jobs
        if isinstance(driver, Watchful):
            async for ref in driver.changes():
                self._hinted.add(ref.uid)
                self._world.signals.notify(Signals.RECONCILER)

    async def step(self) -> float:
        """Do all that is due now; return in how many seconds to come again (a signal may come before)."""
        now = self._world.clock.now()
        hinted, self._hinted = self._hinted, set()
        again = await self._admit(now)
        await self._read(now)
        for uid in hinted & self._look_at.keys():
            self._look_at[uid] = now
        # Of more than can be looked at now, those that have waited longest: so each has its turn.
        due = [uid for uid, at in self._look_at.items() if at <= now and uid not in self._busy]
        chosen = heapq.nsmallest(DUE_LIMIT, due, key=self._look_at.__getitem__)
        jobs = await self._world.store.jobs.get_many(chosen) if chosen else ()
        await self._work(jobs)
        times = (at for uid, at in self._look_at.items() if uid not in self._busy)
        ahead = min(times, default=now + timedelta(seconds=IDLE_S))
        if again is not None:
            ahead = min(ahead, again)
        return min(IDLE_S, max(PASS_S / 2, (ahead - self._world.clock.now()).total_seconds()))

    async def _read(self, now: datetime) -> None:
        """Read who is due. Of thousands not at each step: a stop is then seen a tenth of a second later."""
        rest = timedelta(seconds=ROW_S * len(self._versions))
        if len(self._versions) > DUE_LIMIT and timedelta(0) <= now - self._read_at < rest:
            return
        rows = await self._world.store.jobs.due(self._due_until(now))
        self._read_at = now
        self._latest = max([now, self._latest or now, *(row.due_at for row in rows if row.phase is not _QUEUED)])
        self._look_at = {row.uid: self._time_of(row, now) for row in rows}
        self._versions = {row.uid: row.version for row in rows}
        self._placed = {row.uid for row in rows if row.phase in PLACED}

    async def _work(self, jobs: Iterable[Job]) -> None:
        """Reconcile the jobs, side by side; returns when all are done, or after a moment with some still busy."""
        tasks = {job.uid: asyncio.create_task(self._reconcile_safely(job), name=f"job {job.uid}") for job in jobs}
        self._busy |= tasks
        for uid, task in tasks.items():
            task.add_done_callback(lambda _, uid=uid: self._busy.pop(uid, None))  # type: ignore[misc]
        patience = asyncio.create_task(self._world.clock.sleep(PATIENCE_S))
        try:
            waiting = set(tasks.values())
            while waiting and not patience.done():
                done, _ = await asyncio.wait({patience, *waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting -= done
                for task in done - {patience}:
                    task.result()
            for task in waiting:
                task.add_done_callback(lambda _: self._world.signals.notify(Signals.RECONCILER))
        finally:
            patience.cancel()

    def _time_of(self, row: DueRow, now: datetime) -> datetime:
        """Return when to look at a job: as was decided at the last look, now if it was changed since."""
        return self._look_at.get(row.uid, now) if self._versions.get(row.uid) == row.version else now

    def _due_until(self, now: datetime) -> datetime:
        """Return what is due by. Where the clock was set back, or may have been since another process said so: all.

        A job that was due before is due now, and must not wait until the clock has caught up.
        """
        back = now < self._read_at
        if back:
            self._look_at.clear()
        if back or self._latest is None:
            return now + FAR
        return max(now, self._latest)

    async def _admit(self, now: datetime) -> datetime | None:
        """Start what may start; return when the scheduler must pass again, None where nothing waits for it."""
        pause = timedelta(seconds=self._pause_s())
        if self._passed_at is not None and timedelta(0) <= now - self._passed_at < pause:
            return self._passed_at + pause
        self._passed_at = now
        placements = await self._world.queue.verdicts()
        self._waiting = len(placements)
        metric.QUEUE_DEPTH.set(self._waiting)
        admitted = [placement.uid for placement in placements if placement.admitted]
        for uid in admitted:
            job = await self._world.store.jobs.get_by_uid(uid)
            if job.phase is JobPhase.QUEUED and not job.stop_requested:
                phase, why, fields = admit(job, self._world.cluster, now)
                after, event = job.to(phase, why, now, actor=ACTOR, **fields)
                await self._save(after, [event])
        return now + pause if admitted else None

    def _pause_s(self) -> float:
        """Return how long the scheduler rests: longer the more wait, and while the cluster is full."""
        full = 0 < self._world.queue.capacity <= len(self._placed)
        return IDLE_S if full else min(IDLE_S, max(PASS_S, ROW_S * self._waiting))

    async def _reconcile_safely(self, job: Job) -> None:
        async with self._slots:
            try:
                await self._reconcile(job)
            except StaleVersion:
                self._look_at.pop(job.uid, None)  # somebody (a stop) was first: look at what it is now
            except RaysvcError as error:
                log.warning("job not reconciled, will be repeated", job_id=job.id, uid=job.uid, error=error.message)
                self._look_at[job.uid] = self._world.clock.now() + timedelta(seconds=IDLE_S)
            except Exception:
                log.exception("job not reconciled, will be repeated", job_id=job.id, uid=job.uid)
                self._look_at[job.uid] = self._world.clock.now() + timedelta(seconds=IDLE_S)

    async def _reconcile(self, job: Job) -> None:
        clock = self._world.clock
        seen: Observation | None = None
        if job.phase in PLACED and job.ref is not None:
            seen = await self._world.backend.jobs.observe(job.ref)
        decision = decide(job, seen, clock.now())
        decision = await self._perform(job, decision)
        if job.ref is not None and job.phase in PLACED:
            if decision.phase is None or decision.phase in PLACED:
                self._world.archive.follow(job.ref)
            else:
                # Drained before the end is recorded: who sees a job ended finds its log whole.
                await self._world.archive.drain(job.ref)
        if decision.changes:
            after, event = changed(job, decision, clock.now(), ACTOR)
            await self._save(after, [event])
        if decision.look_at is not None:
            self._look_at[job.uid] = decision.look_at
        else:
            self._look_at.pop(job.uid, None)

    async def _perform(self, job: Job, decision: Decision) -> Decision:
        """Carry out the effect; return the decision, or the one that a refusal makes of it."""
        driver = self._world.backend.jobs
        if decision.effect is Effect.NONE:
            return decision
        try:
            async with self._leadership.effect():
                match decision.effect:
                    case Effect.APPLY:
                        await driver.apply(job)
                    case Effect.STOP if job.ref is not None:
                        await driver.stop(job.ref)
                    case Effect.FINALISE:
                        await self._finalise(job)
                    case Effect.PURGE:
                        await self._purge(job)
        except Invalid as error:
            return await self._refused(job, reason(ReasonCode.BACKEND_REFUSED, error.message))
        except NotFound as error:
            code = ReasonCode.SECRET_MISSING if error.field == "secrets" else ReasonCode.PACKAGE_MISSING
            return await self._refused(job, reason(code, error.message))
        except Damaged as error:
            if error.field != "packages":
                raise
            return await self._refused(job, reason(ReasonCode.PACKAGE_DAMAGED, error.message))
        return decision

    async def _refused(self, job: Job, why: Reason) -> Decision:
        """Return what a refusal makes of it: nothing where an earlier send, of which no answer came, has arrived."""
        now = self._world.clock.now()
        seen = await self._world.backend.jobs.observe(job.ref) if job.ref is not None else None
        if seen is not None and seen.seen is not Seen.ABSENT:
            return Decision(look_at=now)
        return refused(job, why, now)

    async def _finalise(self, job: Job) -> None:
        await self._world.archive.finish([attempt.ref for attempt in job.attempts])
        for attempt in job.attempts[:-1]:
            await self._world.backend.jobs.delete(attempt.ref)

    async def _purge(self, job: Job) -> None:
        for attempt in job.attempts:
            await self._world.backend.jobs.delete(attempt.ref)
        await self._world.backend.artifacts.delete(job.uid)
        await self._world.archive.delete(job.uid)

    async def _save(self, job: Job, events: list[Event]) -> None:
        lease = self._leadership.lease
        if lease is None:
            return  # somebody else leads, and goes on
        with contextlib.suppress(StaleVersion):
            await self._world.store.jobs.save(job, events, fence=lease)
            self._versions[job.uid] = job.version
            (self._placed.add if job.phase in PLACED else self._placed.discard)(job.uid)
            for event in events:
                if event.kind is EventKind.MOVED:
                    metric.MOVES.labels(phase=job.phase).inc()
                    log.info("job moved", job_id=job.id, uid=job.uid, phase=job.phase, reason=job.reason.code)
            self._world.signals.notify(job.uid)
