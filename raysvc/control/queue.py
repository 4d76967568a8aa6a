"""The queue as it stands: the snapshot that the scheduler decides on, and its latest verdicts for those who ask why."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from raysvc.control.cluster.share import named, schedule_each, shared
from raysvc.control.schedule import KEPT_PLACES, Verdict
from raysvc.control.terrain import Surveyor
from raysvc.domain.query import Snapshot
from raysvc.domain.reason import ReasonCode
from raysvc.ports import Clock, Clusters, Store

# How far into each queue the scheduler looks: as many as can start at once, with room for those that stand aside.
LOOK_AHEAD = 64
# And how far where all of those stand aside: they must not hide the ones behind them.
FURTHEST = 4096
_ASIDE = frozenset({ReasonCode.BACKOFF, ReasonCode.EXCEEDS_CAPACITY})
# Verdicts that people read may be this old.
FRESH = timedelta(seconds=1)
PAUSED = "admission_paused"


class Queue:
    """Reads what `schedule` needs."""

    def __init__(
        self, store: Store, clusters: Clusters, clock: Clock, cluster: str, surveyor: Surveyor | None = None
    ) -> None:
        self._store = store
        self._surveyor = surveyor
        self._clusters = clusters
        self._clock = clock
        self._cluster = cluster
        self._board: tuple[datetime, dict[str, Verdict]] | None = None
        self._refreshing = asyncio.Lock()
        self.capacity = 0
        """How many jobs the cluster ran at most when it was last asked."""
        self.paused = False
        """Whether admission was paused then."""
        self.looks = 0
        """How many nodes the last verdicts looked at, for each job that was looked for."""

    async def snapshot(self, depth: int = LOOK_AHEAD) -> Snapshot:
        """Return the queue now, so many of each project's queue: slim rows, never whole specs."""
        paused = await self._store.flags.get(PAUSED)
        waiting = tuple(await self._store.jobs.waiting(depth))
        placed = tuple(await self._store.jobs.placed())
        cluster = await self._clusters.get(self._cluster)
        if sharing := await self._store.jobs.sharing():
            waiting, placed = named(waiting, sharing), named(placed, sharing)
        terrain = await self._surveyor.look(placed) if self._surveyor and waiting else None
        return Snapshot(
            waiting=await self._surveyor.asking(waiting) if self._surveyor and terrain else waiting,
            placed=placed,
            terrain=terrain,
            limits={project.name: project.limits for project in await self._store.projects.list()},
            cluster=cluster,
            shared=await shared(self._store, sharing, cluster.backend),
            paused=paused is not None,
            paused_message=paused or "",
        )

    async def verdicts(self) -> tuple[Verdict, ...]:
        """Return what `schedule` says now."""
        now = self._clock.now()
        depth = LOOK_AHEAD
        snapshot = await self.snapshot(depth)
        verdicts = schedule_each(snapshot, now)
        while depth < FURTHEST and _hides_others(snapshot, verdicts, depth):
            depth *= 8
            snapshot = await self.snapshot(depth)
            verdicts = schedule_each(snapshot, now)
        self.capacity = snapshot.cluster.max_running_jobs
        self.paused = snapshot.paused
        nodes = (snapshot.terrain.nodes or ()) if snapshot.terrain else ()
        self.looks = len(nodes) * min(len(verdicts), KEPT_PLACES)
        self._board = (now, {verdict.uid: verdict for verdict in verdicts})
        return verdicts

    async def board(self) -> dict[str, Verdict]:
        """Return verdicts by uid, at most a second old; only the first of each queue are there."""
        if self._stale():
            async with self._refreshing:  # of many who ask at once, the first has it made for all
                if self._stale():
                    await self.verdicts()
        return self._board[1] if self._board else {}

    def _stale(self) -> bool:
        return self._board is None or abs(self._clock.now() - self._board[0]) > FRESH


def _hides_others(snapshot: Snapshot, verdicts: Sequence[Verdict], depth: int) -> bool:
    """Return whether a queue shows as many as were asked for, and all of them stand aside."""
    aside = {verdict.uid for verdict in verdicts if verdict.reason.code in _ASIDE}
    if len(aside) < depth:
        return False
    lanes: defaultdict[tuple[str, str, str | None], list[bool]] = defaultdict(list)
    for row in snapshot.waiting:
        lanes[row.project, row.queue, row.cluster].append(row.uid in aside)
    return any(len(lane) >= depth and all(lane) for lane in lanes.values())
