"""The one loop of effects: due -> observe -> decide -> effect -> save. Only the holder of the lease runs it.

Every step may be the last before a `kill -9`: effects are idempotent by Ref and come before the save that records
them, so that a crash repeats one, and never skips one.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from raysvc.control import metric
from raysvc.control.decide import Decision, Effect, admit, decide, refused
from raysvc.control.lease import Leadership
from raysvc.control.logbook import Archive
from raysvc.control.queue import Queue
from raysvc.control.signal import Signals
from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import PLACED, Job, JobPhase
from raysvc.domain.observation import Observation
from raysvc.domain.reason import ReasonCode, reason
from raysvc.errors import Invalid, NotFound, RaysvcError, StaleVersion
from raysvc.ports import Backend, Clock, Store

log = structlog.get_logger()

IDLE_S = 1.0
# The scheduler passes at most this often: with a thousand submits a second it must not run for each.
PASS_S = 0.05
AT_ONCE = 16
DUE_LIMIT = 500
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
        self._passed_at: datetime | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Reconcile until cancelled; a failing pass is logged and tried again."""
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

    async def step(self) -> float:
        """Do all that is due now; return in how many seconds to come again (a signal may come before)."""
        now = self._world.clock.now()
        admitted = await self._admit(now)
        jobs = await self._world.store.jobs.due(now, DUE_LIMIT)
        self._look_at = {job.uid: self._look_at.get(job.uid, now) for job in jobs}
        due = [job for job in jobs if self._look_at[job.uid] <= now or job.stop_requested or not job.live]
        await asyncio.gather(*(self._reconcile_safely(job) for job in due))
        ahead = min(self._look_at.values(), default=now + timedelta(seconds=IDLE_S))
        if admitted:
            ahead = now
        return min(IDLE_S, max(PASS_S / 2, (ahead - self._world.clock.now()).total_seconds()))

    async def _admit(self, now: datetime) -> int:
        if self._passed_at is not None and timedelta(0) <= now - self._passed_at < timedelta(seconds=PASS_S):
            return 0
        self._passed_at = now
        placements = await self._world.queue.verdicts()
        metric.QUEUE_DEPTH.set(len(placements))
        admitted = [placement.uid for placement in placements if placement.admitted]
        for uid in admitted:
            job = await self._world.store.jobs.get_by_uid(uid)
            if job.phase is JobPhase.QUEUED and not job.stop_requested:
                phase, why, fields = admit(job, self._world.cluster, now)
                after, event = job.to(phase, why, now, actor=ACTOR, **fields)
                await self._save(after, [event])
        return len(admitted)

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
            after, event = _changed(job, decision, clock.now())
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
        self._leadership.check()
        try:
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
            return refused(job, reason(ReasonCode.BACKEND_REFUSED, error.message), self._world.clock.now())
        except NotFound as error:
            code = ReasonCode.SECRET_MISSING if error.field == "secrets" else ReasonCode.PACKAGE_MISSING
            return refused(job, reason(code, error.message), self._world.clock.now())
        return decision

    async def _finalise(self, job: Job) -> None:
        for attempt in job.attempts[:-1]:
            await self._world.backend.jobs.delete(attempt.ref)

    async def _purge(self, job: Job) -> None:
        for attempt in job.attempts:
            await self._world.backend.jobs.delete(attempt.ref)
        await self._world.backend.artifacts.delete(job.uid)
        await self._world.archive.delete(job.uid)

    async def _save(self, job: Job, events: list[Event]) -> None:
        with contextlib.suppress(StaleVersion):
            await self._world.store.jobs.save(job, events)
            for event in events:
                if event.kind is EventKind.MOVED:
                    metric.MOVES.labels(phase=job.phase).inc()
                    log.info("job moved", job_id=job.id, uid=job.uid, phase=job.phase, reason=job.reason.code)
            self._world.signals.notify(job.uid)


def _changed(job: Job, decision: Decision, now: datetime) -> tuple[Job, Event]:
    fields = decision.fields
    if decision.phase is not None and decision.reason is not None:
        return job.to(decision.phase, decision.reason, now, actor=ACTOR, **fields)
    if decision.reason is not None:
        text = f"{decision.reason.title}. {decision.reason.message}".strip()
        return job.change(EventKind.REASON, now, actor=ACTOR, message=text, reason=decision.reason, **fields)
    kind = EventKind.FINALISED if "finalised" in fields else EventKind.REASON
    text = "logs archived" if kind is EventKind.FINALISED else "noted: " + ", ".join(sorted(fields))
    return job.change(kind, now, actor=ACTOR, message=text, **fields)
