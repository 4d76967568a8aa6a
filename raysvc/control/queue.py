"""The queue as it stands: the snapshot that the scheduler decides on, and its latest verdicts for those who ask why."""

from datetime import datetime, timedelta

from raysvc.control.schedule import Placement, schedule
from raysvc.domain.query import Snapshot
from raysvc.ports import Clock, Clusters, Store

# How far into each queue the scheduler looks: as many as can start at once, with room for those that stand aside.
LOOK_AHEAD = 64
# Verdicts that people read may be this old.
FRESH = timedelta(seconds=1)
PAUSED = "admission_paused"


class Queue:
    """Reads what `schedule` needs."""

    def __init__(self, store: Store, clusters: Clusters, clock: Clock, cluster: str) -> None:
        self._store = store
        self._clusters = clusters
        self._clock = clock
        self._cluster = cluster
        self._board: tuple[datetime, dict[str, Placement]] | None = None

    async def snapshot(self) -> Snapshot:
        """Return the queue now: slim rows, never whole specs."""
        paused = await self._store.flags.get(PAUSED)
        return Snapshot(
            waiting=tuple(await self._store.jobs.waiting(LOOK_AHEAD)),
            placed=tuple(await self._store.jobs.placed()),
            limits={project.name: project.limits for project in await self._store.projects.list()},
            cluster=await self._clusters.get(self._cluster),
            paused=paused is not None,
            paused_message=paused or "",
        )

    async def verdicts(self) -> tuple[Placement, ...]:
        """Return what `schedule` says now."""
        now = self._clock.now()
        placements = schedule(await self.snapshot(), now)
        self._board = (now, {placement.uid: placement for placement in placements})
        return placements

    async def board(self) -> dict[str, Placement]:
        """Return verdicts by uid, at most a second old; only the first of each queue are there."""
        if self._board is None or abs(self._clock.now() - self._board[0]) > FRESH:
            await self.verdicts()
        return self._board[1] if self._board else {}
