"""Which queued jobs may start now, and why the others may not. Pure: schedule(snapshot, now) -> decisions.

First in, first out, by priority. What will be added (quotas, cohorts, gangs, preemption, budgets) is data in the
Snapshot and rules here; the loop around it does not change.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from raysvc.control.place import Plot
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.job import JobPhase
from raysvc.domain.model import Model, Uid
from raysvc.domain.placement import Ask, Placement, Refusal
from raysvc.domain.project import Limits
from raysvc.domain.query import PlacedRow, Snapshot, Terrain, WaitingRow
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.domain.resources import Resources

GIB = 1 << 30
# Free memory that stays untouched on the head: Ray kills workers when a node is 95 % full.
MEMORY_RESERVE = GIB // 2
# What a job that names no memory takes: its supervisor actor (about 85 MB) and a Python driver that imports Ray.
MEMORY_PER_JOB = 320 << 20
# So many that wait for nodes keep a place there, and are told of each pool: it costs milliseconds on a thousand nodes.
# Those behind them start where they fit beside what is kept.
KEPT_PLACES = 16
_BEHIND = "no room beside what is kept for the jobs before it"


class Verdict(Model):
    """The verdict on one waiting job: admitted, or why not. `position` counts from 1 in the order of starting.

    `placement` says on which nodes it starts, `refusal` why on none, where node pools are declared.
    """

    uid: Uid
    admitted: bool
    position: int
    reason: Reason
    placement: Placement | None = None
    refusal: Refusal | None = None
    on: Uid | None = None
    """The shared cluster that it starts on; None: the platform's own."""


class _Room:
    """What is left as jobs are admitted one by one. Lives for one call of `schedule`."""

    def __init__(self, snapshot: Snapshot) -> None:
        cluster = snapshot.cluster
        self.total = cluster.resources
        here = {row.uid for row in snapshot.placed if _is_on(row, cluster)}
        self.slots = cluster.max_running_jobs - len(here)
        self.free = self.total
        self.memory = None if cluster.free_memory is None else cluster.free_memory - MEMORY_RESERVE
        self.occupied = bool(here)
        self.by_project: dict[str, tuple[int, Resources]] = {}
        self.held: set[tuple[str, str]] = set()
        self.plot = _plot(snapshot)
        self.kept = 0
        kinds = {(row.project, id(row.demand), row.phase, row.uid in here): row for row in snapshot.placed}
        counts = Counter((row.project, id(row.demand), row.phase, row.uid in here) for row in snapshot.placed)
        for kind, row in kinds.items():
            if row.uid not in here:
                self.count(row, counts[kind])
                continue
            self.take(row, counts[kind])
            if row.phase is not JobPhase.STARTING and self.memory is not None:
                # Already in what was measured.
                self.memory += counts[kind] * (row.demand.memory or MEMORY_PER_JOB)

    def take(self, row: WaitingRow | PlacedRow, times: int = 1) -> None:
        self.reserve(row, times)
        self.count(row, times)
        if self.memory is not None:
            self.memory -= times * (row.demand.memory or MEMORY_PER_JOB)

    def count(self, row: WaitingRow | PlacedRow, times: int = 1) -> None:
        """Count against the project's limits what it has, wherever that is."""
        count, used = self.by_project.get(row.project, (0, Resources()))
        self.by_project[row.project] = (count + times, used.plus(row.demand, times))

    def set_aside(self, row: WaitingRow, why: Reason, limits: Limits) -> bool:
        """Keep for a row what it waits for, so that those behind it cannot take it; return whether that is news."""
        if why.code is ReasonCode.INSUFFICIENT_RESOURCES:
            return self._keep(row)
        if why.code is ReasonCode.LOW_MEMORY and self.memory is not None and self.memory > 0:
            self.memory = 0
            return True
        if why.code is ReasonCode.PROJECT_LIMIT:
            # What it asks for is its project's next, unless it is more than the project may ever have.
            asked = {(row.project, name) for name, amount, most in _bounds(row, limits) if 0 < amount <= most}
            fits = all(amount <= most for _, amount, most in _bounds(row, limits))
            if fits and not asked <= self.held:
                self.held |= asked
                return True
        return False

    def reserve(self, row: WaitingRow | PlacedRow, times: int = 1) -> None:
        self.free = self.free.plus(row.demand, -times)

    def seat(self, plot: Plot, ask: Ask) -> Placement | Refusal:
        """Return where its pods go, taken from those behind it, or why nowhere."""
        if self.kept < KEPT_PLACES:
            return plot.place(ask)
        return plot.fit(ask) or Refusal(message=_BEHIND, group=None, ever=True)

    def _keep(self, row: WaitingRow) -> bool:
        if self.plot is None:
            self.reserve(row)
            return True
        if row.ask is None or self.kept >= KEPT_PLACES:
            return False
        self.plot.hold(row.ask)
        self.kept += 1
        return True


def _is_on(row: PlacedRow, cluster: Cluster) -> bool:
    if cluster.owner == "platform":
        return row.cluster is None
    return (row.project, row.cluster) == (cluster.project, cluster.name)


def _plot(snapshot: Snapshot) -> Plot | None:
    terrain = snapshot.terrain
    if terrain is None or terrain.nodes is None or not snapshot.waiting:
        return None
    return Plot(terrain.pools, terrain.nodes, terrain.quarantine, terrain.occupied)


def order(waiting: Sequence[WaitingRow]) -> list[WaitingRow]:
    """Return the rows in the order in which they may start: priority, then age, then uid."""
    return sorted(waiting, key=lambda row: (-row.priority, row.created_at, row.uid))


def schedule(snapshot: Snapshot, now: datetime) -> tuple[Verdict, ...]:
    """Return a verdict for every waiting row, in order.

    A job that fits the cluster but not what is free now keeps its place: what it asks for is set aside, so that
    smaller jobs behind it cannot starve it. A job over its project's limit holds up only those of its project that want
    of the same; one that is larger than that limit, or than the whole cluster, stands aside and holds nobody up.
    """
    room = _Room(snapshot)
    verdicts = []
    # While no room is taken, equal rows are told the same: of thousands that wait, a few kinds are looked into.
    told: dict[tuple[object, ...], tuple[Reason, Refusal | None]] = {}
    for position, row in enumerate(order(snapshot.waiting), start=1):
        kind = (row.project, id(row.demand), id(row.ask), row.not_before)
        place = None
        why, refusal = told.get(kind) or (_blocked(row, snapshot, room, now), None)
        if why is None:
            place, refusal, why = _seated(row, snapshot.terrain, room)
        if why is None:
            room.take(row)
            room.slots -= 1
            room.occupied = True
            told.clear()
        elif room.set_aside(row, why, snapshot.limits.get(row.project, Limits())):
            told.clear()
        else:
            told[kind] = why, refusal
        verdicts.append(
            # Made of what is valid, thousands of times a pass: unchecked, it costs a third.
            Verdict.model_construct(
                uid=row.uid,
                admitted=why is None,
                position=position,
                reason=why or reason(ReasonCode.SUBMITTING),
                placement=place,
                refusal=refusal,
            )
        )
    return tuple(verdicts)


def _seated(
    row: WaitingRow, terrain: Terrain | None, room: _Room
) -> tuple[Placement | None, Refusal | None, Reason | None]:
    """Return where the row starts, or why no pool takes it: one that waiting may mend, or one that never will."""
    if terrain is None:
        return None, None, None  # nobody chooses nodes
    if room.plot is None:
        return None, None, reason(ReasonCode.CLUSTER_NOT_READY, terrain.why)
    if row.ask is None:
        return None, None, reason(ReasonCode.WAITING)  # its job has gone since it was read
    answer = room.seat(room.plot, row.ask)
    if not isinstance(answer, Refusal):
        return answer, None, None
    code = ReasonCode.INSUFFICIENT_RESOURCES if answer.ever else ReasonCode.EXCEEDS_CAPACITY
    return None, answer, reason(code, answer.text)


def _blocked(row: WaitingRow, snapshot: Snapshot, room: _Room, now: datetime) -> Reason | None:  # noqa: PLR0911
    """Return the first rule that keeps this job waiting, or None."""
    cluster = snapshot.cluster
    if snapshot.paused:
        return reason(ReasonCode.ADMISSION_PAUSED, snapshot.paused_message or "`raysvc admission resume` ends it")
    if row.not_before is not None and now < row.not_before:
        return reason(ReasonCode.BACKOFF, f"next attempt at {row.not_before.isoformat(timespec='seconds')}")
    limit = _over_limit(row, snapshot.limits.get(row.project, Limits()), room)
    if limit is not None:
        return limit
    if cluster.phase not in {ClusterPhase.READY, ClusterPhase.DEGRADED}:
        said = cluster.reason.message if cluster.reason else ""
        return reason(ReasonCode.CLUSTER_NOT_READY, f"{cluster.name} is {cluster.phase}. {said}".strip())
    # Where pools are declared, room is what they have, and they are asked last.
    beyond = {} if snapshot.terrain else row.demand.shortfall(room.total)
    # Of a shared cluster it is known how far it may grow; of the platform's own only what it has grown to.
    if beyond and (cluster.autoscaling is None or cluster.owner == "raysvc"):
        return reason(ReasonCode.EXCEEDS_CAPACITY, f"{cluster.name} is short of {_amounts(beyond)} even when idle")
    if room.slots <= 0:
        return reason(ReasonCode.CLUSTER_BUSY, f"{cluster.name} runs at most {cluster.max_running_jobs} jobs at once")
    missing = {} if snapshot.terrain else row.demand.shortfall(room.free)
    if missing and not beyond:
        return reason(ReasonCode.INSUFFICIENT_RESOURCES, f"{cluster.name} is short of {_amounts(missing)} now")
    needed = row.demand.memory or MEMORY_PER_JOB
    if room.memory is not None and needed > room.memory and room.occupied:
        free = max(0, room.memory) / GIB
        return reason(ReasonCode.LOW_MEMORY, f"{free:.1f} GiB free for jobs, {needed / GIB:.1f} GiB needed")
    return None


def _over_limit(row: WaitingRow, limits: Limits, room: _Room) -> Reason | None:
    count, used = room.by_project.get(row.project, (0, Resources()))
    after = used.plus(row.demand)
    checks = (
        ("max_running_jobs", limits.max_running_jobs, count + 1, f"{count} running"),
        ("max_cpus", limits.max_cpus, after.cpus, f"{used.cpus:g} in use, {row.demand.cpus:g} asked for"),
        ("max_gpus", limits.max_gpus, after.gpus, f"{used.gpus:g} in use, {row.demand.gpus:g} asked for"),
    )
    for name, limit, amount, said in checks:
        if limit is not None and amount > limit:
            return reason(ReasonCode.PROJECT_LIMIT, f"{name} of {row.project} is {limit:g}; {said}")
    for name, amount, _ in _bounds(row, limits):
        if amount and (row.project, name) in room.held:
            return reason(ReasonCode.PROJECT_LIMIT, f"{name} of {row.project} is kept for a job before this one")
    return None


def _bounds(row: WaitingRow, limits: Limits) -> list[tuple[str, float, float]]:
    """Return (limit, what the row asks for, the most its project may have) for each amount that is limited."""
    pairs = (("max_cpus", row.demand.cpus, limits.max_cpus), ("max_gpus", row.demand.gpus, limits.max_gpus))
    return [(name, amount, most) for name, amount, most in pairs if most is not None]


def _amounts(amounts: dict[str, float]) -> str:
    said = [f"{v / GIB:.1f} GiB memory" if k == "memory" else f"{v:g} {k}" for k, v in sorted(amounts.items())]
    return ", ".join(said)
