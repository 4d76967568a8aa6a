"""The loop of services: what replicas said, the proxy's table, and on the holder of the lease observe, decide, effect.

Every server runs it. Each step may be the last before a `kill -9`: effects are idempotent and come before the save that
records them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from raysvc.control.lease import Leadership
from raysvc.control.serving.decide import Sight, decide, failed, troubled
from raysvc.control.serving.replicas import ReplicaDesk
from raysvc.control.serving.router import Router
from raysvc.control.signal import Signals
from raysvc.control.step import Decision, Effect, changed
from raysvc.domain.event import EventKind
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.domain.service import PLACED, Service, ServicePhase
from raysvc.errors import Invalid, NotFound, RaysvcError, StaleVersion, Unavailable
from raysvc.ports import Clock, ServiceRecords, Services

log = structlog.get_logger()

# Services are few, and what becomes of them takes seconds: all of them are looked at once a second.
EVERY_S = 1.0
AT_ONCE = 16
# An effect that takes longer goes on beside the loop.
PATIENCE_S = 0.25
CHORES = timedelta(seconds=30)
FORGOTTEN = timedelta(hours=1)
PRUNED = 100
ACTOR = "raysvc"


@dataclass(frozen=True)
class ServiceWorld:
    """What the loop works with. No `driver`: nothing is served here. No `router`: there is no proxy."""

    records: ServiceRecords
    driver: Services | None
    replicas: ReplicaDesk
    router: Router | None
    signals: Signals
    clock: Clock
    # How long a service that is gone stays on record. None: for ever.
    kept: timedelta | None = None


class ServiceLoop:
    """Carries out what `decide` and `routes` say."""

    def __init__(self, world: ServiceWorld, leadership: Leadership) -> None:
        self._world = world
        self._leadership = leadership
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._chores_at: datetime | None = None

    async def run(self) -> None:
        """Go on until cancelled; a failing pass is logged and tried again."""
        try:
            while True:
                try:
                    await self.step()
                except RaysvcError as error:
                    log.warning("pass over services failed, will be repeated", error=error.message)
                except Exception:
                    log.exception("pass over services failed, will be repeated")
                await self._world.signals.wait(Signals.SERVICES, EVERY_S)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def step(self) -> None:
        """Look at all services once."""
        services = await self._world.records.live()
        if services:
            await self._world.replicas.exchange(services)
        if self._world.router is not None:
            await self._world.router.route(services)
        if self._world.driver is not None and self._leadership.held:
            await self._work(services, self._world.driver)
            await self._chores(self._world.driver)

    async def _work(self, services: Sequence[Service], driver: Services) -> None:
        """Reconcile them side by side; returns when all are done, or after a moment with some still busy."""
        tasks = {
            service.uid: asyncio.create_task(self._reconcile_safely(service, driver), name=f"service {service.uid}")
            for service in services
            if service.uid not in self._busy
        }
        self._busy |= tasks
        for uid, task in tasks.items():
            task.add_done_callback(lambda _, uid=uid: self._busy.pop(uid, None))  # type: ignore[misc]
        patience = asyncio.create_task(self._world.clock.sleep(PATIENCE_S))
        try:
            waiting = set(tasks.values())
            while waiting and not patience.done():
                done, _ = await asyncio.wait({patience, *waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting -= done
        finally:
            patience.cancel()

    async def _reconcile_safely(self, service: Service, driver: Services) -> None:
        async with self._slots:
            try:
                await self._reconcile(service, driver)
            except RaysvcError as error:
                log.warning(
                    "service not reconciled, will be repeated", service=service.id, uid=service.uid, error=error.message
                )
            except Exception:
                log.exception("service not reconciled, will be repeated", service=service.id, uid=service.uid)

    async def _reconcile(self, service: Service, driver: Services) -> None:
        clock, replicas = self._world.clock, self._world.replicas
        sight: Sight | None = None
        if service.phase in PLACED:
            seen = await driver.observe(service.uid)
            sight = Sight(seen, replicas.ready(service.uid), settled=replicas.settled)
        decision = decide(service, sight, clock.now())
        if decision.effect is not Effect.NONE:
            decision = await self._perform(service, decision, driver)
        if decision.changes:
            await self._save(service, decision)

    async def _perform(self, service: Service, decision: Decision, driver: Services) -> Decision:
        """Carry out the effect; return the decision, or the one that a refusal makes of it."""
        try:
            async with self._leadership.effect():
                if decision.effect is Effect.APPLY:
                    await driver.apply(service)
                else:
                    await driver.delete(service.uid)
        except Invalid as error:
            return self._refused(service, reason(ReasonCode.SERVICE_REFUSED, error.message))
        except NotFound as error:
            return self._refused(service, reason(ReasonCode.MODEL_NOT_FOUND, error.message))
        except Unavailable as error:
            if not self._leadership.held:
                raise
            return troubled(service, error.message)
        return decision

    def _refused(self, service: Service, why: Reason) -> Decision:
        if service.phase is ServicePhase.DEPLOYING:
            ready = self._world.replicas.ready(service.uid).get(service.serving, 0)
            standing = bool(service.serving) and ready >= service.spec.replicas.min
            return failed(service, why, self._world.clock.now(), standing=standing)
        if service.phase is ServicePhase.HEALTHY:
            return Decision(phase=ServicePhase.DEGRADED, reason=why)
        return Decision(reason=None if why == service.reason else why)

    async def _save(self, service: Service, decision: Decision) -> None:
        after, event = changed(service, decision, self._world.clock.now(), ACTOR)
        lease = self._leadership.lease
        if lease is None:
            return  # somebody else leads, and goes on
        try:
            await self._world.records.save(after, [event], fence=lease)
        except StaleVersion:
            self._world.signals.notify(Signals.SERVICES)  # somebody was first: what it is now is looked at
            return
        if event.kind is EventKind.MOVED:
            log.info("service moved", service=after.id, uid=after.uid, phase=after.phase, reason=after.reason.code)
            self._world.signals.notify(Signals.SERVICES)  # the next step is due at once
        self._world.signals.notify(after.uid)

    async def _chores(self, driver: Services) -> None:
        now = self._world.clock.now()
        if self._chores_at is not None and timedelta(0) <= now - self._chores_at < CHORES:
            return
        self._chores_at = now
        await self.sweep(driver)
        await self._world.replicas.forget(now - FORGOTTEN)
        if self._world.kept is not None:
            for gone in await self._world.records.prune(finished_before=now - self._world.kept, limit=PRUNED):
                log.info("service pruned", service=gone.id, uid=gone.uid, project=gone.project)

    async def sweep(self, driver: Services) -> int:
        """Delete what is on the cluster and no record claims; return how many."""
        swept = 0
        async for uid in driver.owned():
            try:
                orphan = (await self._world.records.get_by_uid(uid)).deleted
            except NotFound:
                orphan = True
            if orphan:
                log.info("orphan deleted", service=uid)
                async with self._leadership.effect():
                    await driver.delete(uid)
                swept += 1
        return swept
