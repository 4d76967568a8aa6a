"""The one loop of effects: due -> observe -> decide -> effect -> save. Only the holder of the lease runs it.

Every step may be the last before a `kill -9`: effects are idempotent by Ref and come before the save that records
them, so that a crash repeats one, and never skips one.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from raysvc.control import metric
from raysvc.control.agenda import ROW_S, Agenda
from raysvc.control.decide import Decision, Effect, admit, changed, decide, refused
from raysvc.control.lease import Leadership
from raysvc.control.logbook import Archive
from raysvc.control.queue import Queue
from raysvc.control.signal import Signals
from raysvc.control.strike import Strikes
from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import PLACED, Job, JobPhase, JobRef
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.errors import Damaged, Invalid, NotFound, RaysvcError, StaleVersion
from raysvc.ports import Backend, Clock, Releasing, Store, Watchful

log = structlog.get_logger()

IDLE_S = 1.0
# The scheduler passes at most this often: with a thousand submits a second it must not run for each.
PASS_S = 0.05
AT_ONCE = 16
# And for each look of a job at a node: some 5 µs, so that it takes the loop a fifth of the time at most.
NODE_S = 20e-6
# Work on a job that takes longer (a large package, a pool that starts) goes on beside the loop.
PATIENCE_S = 0.25
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
        self._strikes = Strikes(world.store, world.clock)
        self._agenda = Agenda()
        self._placed: set[str] = set()
        self._waiting = 0
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._passed_at: datetime | None = None
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
                    self._agenda = Agenda()  # who leads meanwhile changes what it says
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
                self._agenda.hint(ref.uid)
                self._world.signals.notify(Signals.RECONCILER)

    async def step(self) -> float:
        """Do all that is due now; return in how many seconds to come again (a signal may come before)."""
        now = self._world.clock.now()
        again = await self._admit(now)
        await self._read(now)
        due = self._agenda.due(now, self._busy)
        await self._work(await self._world.store.jobs.get_many(due) if due else ())
        times = [at for at in (again, self._agenda.ahead(self._busy)) if at is not None]
        if not times:
            return IDLE_S
        return min(IDLE_S, max(PASS_S / 2, (min(times) - self._world.clock.now()).total_seconds()))

    async def _read(self, now: datetime) -> None:
        if not self._agenda.rests(now):
            rows = await self._world.store.jobs.due(self._agenda.until(now))
            self._agenda.read(rows, now)
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

    async def _admit(self, now: datetime) -> datetime | None:
        """Start what may start; return when the scheduler must pass again, None where nothing waits for it."""
        pause = timedelta(seconds=self._pause_s())
        if self._passed_at is not None and timedelta(0) <= now - self._passed_at < pause:
            return self._passed_at + pause
        self._passed_at = now
        verdicts = await self._world.queue.verdicts()
        self._waiting = len(verdicts)
        metric.QUEUE_DEPTH.set(self._waiting)
        admitted = [verdict for verdict in verdicts if verdict.admitted]
        for verdict in admitted:
            job = await self._world.store.jobs.get_by_uid(verdict.uid)
            if job.phase is JobPhase.QUEUED and not job.stop_requested:
                cluster = job.spec.cluster or self._world.cluster
                phase, why, fields = admit(job, cluster, now, verdict.placement, verdict.on)
                after, event = job.to(phase, why, now, actor=ACTOR, **fields)
                await self._save(after, [event], look_at=None)  # at once, when it is read
        return now + pause if admitted else None

    def _pause_s(self) -> float:
        """Return how long the scheduler rests: longer the more it looks at, and while nothing could start anyway."""
        queue = self._world.queue
        idle = queue.paused or 0 < queue.capacity <= len(self._placed)
        rest = max(PASS_S, ROW_S * self._waiting, NODE_S * self._world.queue.looks)
        return IDLE_S if idle else min(IDLE_S, rest)

    async def _reconcile_safely(self, job: Job) -> None:
        async with self._slots:
            try:
                await self._reconcile(job)
            except RaysvcError as error:
                log.warning("job not reconciled, will be repeated", job_id=job.id, uid=job.uid, error=error.message)
                self._agenda.put(job.uid, self._world.clock.now() + timedelta(seconds=IDLE_S))
            except Exception:
                log.exception("job not reconciled, will be repeated", job_id=job.id, uid=job.uid)
                self._agenda.put(job.uid, self._world.clock.now() + timedelta(seconds=IDLE_S))

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
                await self._release(job.ref)
        if decision.changes:
            after, event = changed(job, decision, clock.now(), ACTOR)
            if job.phase in PLACED and after.phase not in PLACED:
                await self._strikes.hear(after)
            await self._save(after, [event], decision.look_at)
        else:
            self._agenda.put(job.uid, decision.look_at)

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
        if seen is not None and seen.seen not in {Seen.ABSENT, Seen.WAITING}:
            return Decision(look_at=now)
        return refused(job, why, now, made=seen is not None and seen.seen is Seen.WAITING)

    async def _release(self, ref: JobRef) -> None:
        """Free what an ended attempt occupies, now that its log is here; at the latest its cluster does that itself."""
        driver = self._world.backend.jobs
        if isinstance(driver, Releasing):
            async with self._leadership.effect():
                await driver.release(ref)

    async def _finalise(self, job: Job) -> None:
        await self._world.archive.finish([attempt.ref for attempt in job.attempts])
        for attempt in job.attempts[:-1]:
            await self._world.backend.jobs.delete(attempt.ref)

    async def _purge(self, job: Job) -> None:
        for attempt in job.attempts:
            await self._world.backend.jobs.delete(attempt.ref)
        await self._world.backend.artifacts.delete(job.uid)
        await self._world.archive.delete(job.uid)

    async def _save(self, job: Job, events: list[Event], look_at: datetime | None) -> None:
        """Keep what became of a job, and when to look at it again."""
        lease = self._leadership.lease
        if lease is None:
            return  # somebody else leads, and goes on
        try:
            await self._world.store.jobs.save(job, events, fence=lease)
        except StaleVersion:
            self._agenda.put(job.uid, None)  # somebody (a stop) was first: what it is now is looked at once it is read
            return
        self._agenda.saved(job.uid, job.version, look_at)
        (self._placed.add if job.phase in PLACED else self._placed.discard)(job.uid)
        for event in events:
            if event.kind is EventKind.MOVED:
                metric.MOVES.labels(phase=job.phase).inc()
                log.info("job moved", job_id=job.id, uid=job.uid, phase=job.phase, reason=job.reason.code)
        self._world.signals.notify(job.uid)
