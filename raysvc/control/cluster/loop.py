"""The loop of shared clusters: observe, decide, effect, save; on the holder of the lease.

Each step may be the last before a `kill -9`: effects are idempotent and come before the save that records them.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from raysvc.control.cluster.decide import decide, refused
from raysvc.control.lease import Leadership
from raysvc.control.signal import Signals
from raysvc.control.step import Decision, Effect, changed
from raysvc.domain.cluster import MADE, ClusterPhase, SharedCluster
from raysvc.domain.event import EventKind
from raysvc.domain.reason import ReasonCode, reason
from raysvc.errors import Invalid, NotFound, RaysvcError, StaleVersion
from raysvc.ports import Clock, SharedClusters, Store

log = structlog.get_logger()

# Clusters are few, and what becomes of them takes seconds: all of them are looked at once a second.
EVERY_S = 1.0
AT_ONCE = 16
CHORES = timedelta(seconds=30)
PRUNED = 100
ACTOR = "raysvc"


@dataclass(frozen=True)
class ClusterWorld:
    """What the loop works with. `kept`: how long a cluster that is gone stays on record; None: for ever."""

    store: Store
    driver: SharedClusters
    signals: Signals
    clock: Clock
    kept: timedelta | None = None


class ClusterLoop:
    """Carries out what `decide` says."""

    def __init__(self, world: ClusterWorld, leadership: Leadership) -> None:
        self._world = world
        self._leadership = leadership
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._chores_at: datetime | None = None

    async def run(self) -> None:
        """Go on until cancelled; a failing pass is logged and tried again."""
        while True:
            try:
                if self._leadership.held:
                    await self.step()
            except RaysvcError as error:
                log.warning("pass over clusters failed, will be repeated", error=error.message)
            except Exception:
                log.exception("pass over clusters failed, will be repeated")
            await self._world.signals.wait(Signals.CLUSTERS, EVERY_S)

    async def step(self) -> None:
        """Look at all clusters once, side by side."""
        clusters = await self._world.store.clusters.live()
        if clusters:
            rows = await self._world.store.jobs.sharing()
            jobs = Counter((row.project, row.cluster) for row in rows)
            async with asyncio.TaskGroup() as group:
                for cluster in clusters:
                    group.create_task(self._reconcile_safely(cluster, jobs[cluster.project, cluster.id]))
        await self._chores()

    async def _reconcile_safely(self, cluster: SharedCluster, jobs: int) -> None:
        async with self._slots:
            try:
                await self._reconcile(cluster, jobs)
            except RaysvcError as error:
                log.warning("cluster not reconciled, will be repeated", cluster=cluster.uid, error=error.message)
            except Exception:
                log.exception("cluster not reconciled, will be repeated", cluster=cluster.uid)

    async def _reconcile(self, cluster: SharedCluster, jobs: int) -> None:
        seen = await self._world.driver.observe(cluster) if cluster.phase in MADE else None
        decision = decide(cluster, seen, jobs, self._world.clock.now())
        if decision.effect is not Effect.NONE:
            decision = await self._perform(cluster, decision)
        if decision.changes:
            await self._save(cluster, decision)

    async def _perform(self, cluster: SharedCluster, decision: Decision) -> Decision:
        """Carry out the effect; return the decision, or the one that a refusal makes of it."""
        try:
            async with self._leadership.effect():
                if decision.effect is Effect.APPLY:
                    await self._world.driver.apply(cluster)
                else:
                    await self._world.driver.delete(cluster.object_name, cluster.uid)
        except (Invalid, NotFound) as error:
            return refused(cluster, reason(ReasonCode.CLUSTER_REFUSED, error.message))
        return decision

    async def _save(self, cluster: SharedCluster, decision: Decision) -> None:
        after, event = changed(cluster, decision, self._world.clock.now(), ACTOR)
        lease = self._leadership.lease
        if lease is None:
            return  # somebody else leads, and goes on
        try:
            await self._world.store.clusters.save(after, [event], fence=lease)
        except StaleVersion:
            self._world.signals.notify(Signals.CLUSTERS)  # somebody was first: what it is now is looked at
            return
        if event.kind is EventKind.MOVED:
            log.info("cluster moved", cluster=after.id, uid=after.uid, phase=after.phase, reason=after.reason.code)
            self._world.signals.notify(Signals.CLUSTERS)  # the next step is due at once
            if after.phase is ClusterPhase.READY:
                self._world.signals.notify(Signals.RECONCILER)  # jobs wait for it
        self._world.signals.notify(after.uid)

    async def _chores(self) -> None:
        now = self._world.clock.now()
        if self._chores_at is not None and timedelta(0) <= now - self._chores_at < CHORES:
            return
        self._chores_at = now
        await self.sweep()
        if self._world.kept is not None:
            for gone in await self._world.store.clusters.prune(finished_before=now - self._world.kept, limit=PRUNED):
                log.info("cluster pruned", cluster=gone.id, uid=gone.uid, project=gone.project)

    async def sweep(self) -> int:
        """Delete what carries our mark and no record claims; return how many."""
        swept = 0
        async for uid in self._world.driver.owned():
            try:
                record = await self._world.store.clusters.get_by_uid(uid)
            except NotFound:
                record = None
            if record is None or record.deleted:
                log.info("orphan deleted", cluster=uid)
                async with self._leadership.effect():
                    await self._world.driver.delete(record.object_name if record else f"cluster-{uid}", uid)
                swept += 1
        return swept
