"""Reads what placement is decided on: pools, nodes, and what placed attempts were promised there."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from raysvc.control.place import Plot
from raysvc.domain.job import Attempt, Job, JobSpec
from raysvc.domain.placement import Ask, Refusal
from raysvc.domain.query import Occupied, PlacedRow, Terrain, WaitingRow
from raysvc.domain.resources import WorkerGroup
from raysvc.errors import Invalid, Unavailable
from raysvc.ports import Store, Surveyed

_NO_KUBERNETES = "only the node pools of a Kubernetes can say what a node has. Leave it out here."
_NO_POOLS = "no node pool is declared that says what a node has. An admin declares them: `raysvc pool discover`."


class Surveyor:
    """Of each job that waits or is placed, the record is read once and again when it has changed: rows are slim."""

    def __init__(self, store: Store, ground: object) -> None:
        self._store = store
        self._ground = ground if isinstance(ground, Surveyed) else None
        self._asks: dict[str, Ask] = {}
        self._occupied: dict[str, tuple[int, Occupied | None]] = {}

    def ask(self, job: Job) -> Ask:
        """Return what a job's pods ask for."""
        return job.spec.ask(job.project, self._ground.head) if self._ground else job.spec.ask(job.project)

    async def look(self, placed: Sequence[PlacedRow]) -> Terrain | None:
        """Return the terrain with what is promised there; None where no pool is declared, or nothing has nodes."""
        if self._ground is None:
            return None
        pools = tuple(await self._store.pools.list())
        if not pools:
            return None
        quarantine = {it.node: it.reason for it in await self._store.quarantines.list()}
        occupied = await self._promised(placed)
        try:
            nodes = tuple(await self._ground.nodes())
        except Unavailable as error:
            return Terrain(pools=pools, nodes=None, quarantine=quarantine, occupied=occupied, why=error.message)
        return Terrain(pools=pools, nodes=nodes, quarantine=quarantine, occupied=occupied)

    async def asking(self, waiting: Sequence[WaitingRow]) -> tuple[WaitingRow, ...]:
        """Return the rows with what each asks for; equal asks are the same one. A row whose job is gone keeps none."""
        unread = [row.uid for row in waiting if row.uid not in self._asks]
        fresh = {job.uid: self.ask(job) for job in await self._read(unread)}
        known = {**self._asks, **fresh}
        same: dict[Ask, Ask] = {}
        self._asks = {row.uid: same.setdefault(ask, ask) for row in waiting if (ask := known.get(row.uid))}
        return tuple(row.model_copy(update={"ask": self._asks.get(row.uid)}) for row in waiting)

    async def heed(self, spec: JobSpec) -> list[str]:
        """Return warnings of wishes that nothing here heeds; raises Invalid for one that would not be kept.

        Where node pools are declared, all are; on one machine there are no spot nodes to avoid or to prefer.
        """
        wishes = [group for group in spec.shape.workers if _wish(group)]
        if spec.cluster is not None or not wishes or (self._ground and await self._store.pools.list()):
            return []
        where = _NO_POOLS if self._ground else _NO_KUBERNETES
        for group in wishes:
            field = _wish(group)
            if field != "spot":
                asked = getattr(group, field)
                raise Invalid(f"Group {group.name!r} asks for {field} {asked}: {where}", field=f"shape.workers.{field}")
        if self._ground is None:
            return []
        if any(group.spot == "avoid" for group in wishes):
            raise Invalid(f"A group is to avoid spot nodes: {_NO_POOLS}", field="shape.workers.spot")
        return [f"spot: prefer is not heeded: {_NO_POOLS}"]

    async def foresee(self, job: Job, now: datetime) -> tuple[Job, list[str]]:
        """Return a new job as its first attempt would be placed now, and what there is to say of that."""
        terrain = None if job.spec.cluster else await self.look(await self._store.jobs.placed())
        if terrain is None:
            return job, []
        if terrain.nodes is None:
            return job, [f"where it would run is not known now: {terrain.why}"]
        plot = Plot(terrain.pools, terrain.nodes, terrain.quarantine, terrain.occupied)
        answer = plot.place(self.ask(job))
        if isinstance(answer, Refusal):
            wait = "it would wait for room" if answer.ever else "it would wait until the pools are changed"
            return job, [f"{wait}. {answer.text}"]
        attempt = Attempt(job=job.uid, number=1, cluster="", created_at=now, placement=answer)
        return job.model_copy(update={"attempts": (attempt,)}), []

    async def _promised(self, placed: Sequence[PlacedRow]) -> tuple[Occupied, ...]:
        known = {row.uid: self._occupied.get(row.uid) for row in placed}
        changed = [row.uid for row in placed if (it := known[row.uid]) is None or it[0] != row.version]
        fresh = {job.uid: (job.version, self._occupied_by(job)) for job in await self._read(changed)}
        self._occupied = {uid: found for uid, last in known.items() if (found := fresh.get(uid, last))}
        return tuple(occupied for _, occupied in self._occupied.values() if occupied)

    def _occupied_by(self, job: Job) -> Occupied | None:
        if job.ref is None or job.placement is None:
            return None  # it was placed while no pool was declared
        return Occupied(attempt=job.ref.name, ask=self.ask(job), placement=job.placement)

    async def _read(self, uids: Sequence[str]) -> Iterable[Job]:
        return await self._store.jobs.get_many(uids) if uids else ()


def _wish(group: WorkerGroup) -> str:
    """Return the first field of a group that says on what nodes it may be; "" where it goes anywhere."""
    wishes = {"accelerator": group.accelerator, "topology": group.topology != "any", "spot": group.spot != "allow"}
    return next((name for name, wished in wishes.items() if wished), "")
