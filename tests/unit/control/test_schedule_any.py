"""What holds of the scheduler for any queue: within all limits, in order, and everybody's turn comes."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysvc.control.schedule import GIB, MEMORY_PER_JOB, MEMORY_RESERVE, order, schedule
from raysvc.domain.cluster import Cluster
from raysvc.domain.job import JobPhase
from raysvc.domain.model import make_uid
from raysvc.domain.project import Limits
from raysvc.domain.query import PlacedRow, Snapshot, WaitingRow
from raysvc.domain.reason import ReasonCode
from raysvc.domain.resources import Resources

from .test_schedule import NOW, cluster

LATER = NOW + timedelta(hours=1)
TOTAL = Resources(cpus=8, gpus=2, memory=8 * GIB)
DEMANDS = st.builds(
    Resources,
    cpus=st.integers(0, 10),
    gpus=st.integers(0, 3),
    memory=st.sampled_from([0, 0, GIB // 2, 2 * GIB, 9 * GIB]),
)
ROWS = st.builds(
    lambda number, **fields: WaitingRow(uid=make_uid(number, 0), created_at=NOW + timedelta(seconds=number), **fields),
    st.integers(1, 500),
    project=st.sampled_from(["a", "b"]),
    queue=st.sampled_from(["q", "r"]),
    priority=st.integers(-1, 1),
    not_before=st.sampled_from([None, None, None, LATER + timedelta(seconds=1)]),
    demand=DEMANDS,
)
SMALL = st.builds(Resources, cpus=st.integers(0, 1), gpus=st.integers(0, 1), memory=st.sampled_from([0, GIB // 2]))
WAITING = st.lists(ROWS, max_size=25, unique_by=lambda row: row.uid)
LIMITS = st.builds(
    Limits,
    max_running_jobs=st.none() | st.integers(0, 4),
    max_cpus=st.none() | st.integers(0, 9),
    max_gpus=st.none() | st.integers(0, 2),
)
CLUSTERS = st.builds(
    lambda slots, free: cluster(max_running_jobs=slots, free_memory=free, resources=TOTAL),
    st.integers(0, 5),
    st.sampled_from([None, 0, GIB, 4 * GIB]),
)


@dataclass
class Floor:
    """A cluster that runs what is admitted to it. What is measured as free is what does not run."""

    cluster: Cluster
    limits: dict[str, Limits]
    placed: dict[str, PlacedRow] = field(default_factory=dict)

    def snapshot(self, waiting: list[WaitingRow]) -> Snapshot:
        free = self.cluster.free_memory
        if free is not None:
            free -= sum(row.demand.memory or MEMORY_PER_JOB for row in self.placed.values())
        now = self.cluster.model_copy(update={"free_memory": free})
        return Snapshot(waiting=tuple(waiting), placed=tuple(self.placed.values()), limits=self.limits, cluster=now)

    def admit(self, waiting: list[WaitingRow]) -> list[WaitingRow]:
        """Run what may start, hold that against all bounds, and return who still waits."""
        by_uid = {row.uid: row for row in waiting}
        before = len(self.placed)
        for placement in schedule(self.snapshot(waiting), LATER):
            if placement.admitted:
                row = by_uid.pop(placement.uid)
                running = {"uid": row.uid, "project": row.project, "phase": JobPhase.RUNNING, "demand": row.demand}
                self.placed[row.uid] = PlacedRow.model_validate(running)
        if len(self.placed) > before:
            self.check()
        return list(by_uid.values())

    def check(self) -> None:
        rows = list(self.placed.values())
        assert len(rows) <= self.cluster.max_running_jobs
        assert not _sum(rows).shortfall(TOTAL)
        if self.cluster.free_memory is not None and len(rows) > 1:
            used = sum(row.demand.memory or MEMORY_PER_JOB for row in rows)
            assert used <= self.cluster.free_memory - MEMORY_RESERVE
        for project, limits in self.limits.items():
            mine = [row for row in rows if row.project == project]
            assert len(mine) <= _or_any(limits.max_running_jobs)
            assert _sum(mine).cpus <= _or_any(limits.max_cpus)
            assert _sum(mine).gpus <= _or_any(limits.max_gpus)


def _sum(rows: list[PlacedRow]) -> Resources:
    total = Resources()
    for row in rows:
        total = total.plus(row.demand)
    return total


def _or_any(limit: float | None) -> float:
    return float("inf") if limit is None else limit


def could_ever(row: WaitingRow, floor: Floor) -> bool:
    """Return whether it may start where nothing else runs."""
    alone = Floor(floor.cluster, floor.limits)
    return not alone.admit([row])


@settings(deadline=None)
@given(WAITING, CLUSTERS, LIMITS, st.randoms(use_true_random=False))
def test_the_order_of_what_it_is_given_changes_nothing(
    waiting: list[WaitingRow], where: Cluster, limits: Limits, dice: Random
) -> None:
    floor = Floor(where, {"a": limits})
    waiting = floor.admit(waiting)
    said = schedule(floor.snapshot(waiting), LATER)
    shuffled = list(waiting)
    dice.shuffle(shuffled)
    floor.placed = dict(sorted(floor.placed.items(), key=lambda _: dice.random()))
    assert schedule(floor.snapshot(shuffled), LATER) == said
    assert [placement.uid for placement in said] == [row.uid for row in order(waiting)]


@settings(deadline=None)
@given(WAITING, CLUSTERS, LIMITS, st.data())
def test_never_above_any_bound_and_never_idle_for_nothing(
    waiting: list[WaitingRow], where: Cluster, limits: Limits, data: st.DataObject
) -> None:
    floor = Floor(where, {"a": limits})
    for _ in range(6):
        waiting = floor.admit(waiting)
        if not floor.placed:
            assert not [row for row in waiting if could_ever(row, floor)]
        for uid in data.draw(st.lists(st.sampled_from(sorted(floor.placed)), unique=True)) if floor.placed else ():
            del floor.placed[uid]


@settings(deadline=None)
@given(WAITING, CLUSTERS, LIMITS)
def test_equal_jobs_of_a_project_start_in_the_order_in_which_they_came(
    waiting: list[WaitingRow], where: Cluster, limits: Limits
) -> None:
    ready = [row for row in waiting if row.not_before is None]
    left = {row.uid for row in Floor(where, {"a": limits}).admit(ready)}
    held: set[tuple[str, str]] = set()
    for row in order(ready):
        kind = (row.project, row.demand.model_dump_json())
        assert row.uid in left or kind not in held, "one that came later went first"
        if row.uid in left:
            held.add(kind)


@pytest.mark.parametrize(
    ("large", "limits", "free"),
    [
        (Resources(cpus=8), Limits(), None),
        (Resources(gpus=2), Limits(), None),
        (Resources(cpus=4), Limits(max_cpus=4), None),
        (Resources(cpus=1, gpus=1), Limits(max_gpus=1, max_running_jobs=4), None),
        (Resources(memory=2 * GIB), Limits(), 3 * GIB),
        (Resources(cpus=1), Limits(max_running_jobs=2), 2 * GIB),
    ],
)
@settings(max_examples=30, deadline=None)
@given(demands=st.lists(SMALL, min_size=1, max_size=3), dice=st.randoms(use_true_random=False))
def test_whoever_could_start_alone_starts_however_many_come_after(
    large: Resources, limits: Limits, free: int | None, demands: list[Resources], dice: Random
) -> None:
    """Others of the same priority keep coming, and what runs ends one at a time, in any order."""
    where = cluster(max_running_jobs=5, free_memory=free, resources=TOTAL)
    floor = Floor(where, {"a": limits, "b": limits})
    patient = WaitingRow.model_validate({**_PLAIN, "demand": large})
    assert could_ever(patient, floor)
    numbers = count(1000)

    def crowd(each: int) -> list[WaitingRow]:
        return [_another(patient, next(numbers), project, dice.choice(demands)) for project in "aab" * each]

    waiting = [patient, *floor.admit(crowd(4))]
    for _ in range(40):
        waiting = floor.admit(waiting)
        if patient.uid in floor.placed:
            return
        del floor.placed[dice.choice(sorted(floor.placed))]
        waiting += crowd(1)
    said = schedule(floor.snapshot(waiting), LATER)
    why = next(placement.reason for placement in said if placement.uid == patient.uid)
    raise AssertionError(f"it starves: {why}")


def _another(first: WaitingRow, number: int, project: str, demand: Resources) -> WaitingRow:
    changes = {"uid": make_uid(number, 0), "created_at": NOW + timedelta(seconds=number)}
    return first.model_copy(update={**changes, "project": project, "demand": demand})


def test_a_reason_is_given_to_all_who_wait() -> None:
    rows = [_another(WaitingRow(**_PLAIN), n, "a", Resources(cpus=3)) for n in range(5)]
    said = schedule(Floor(cluster(resources=TOTAL), {}).snapshot(rows), LATER)
    assert [p.reason.code for p in said if not p.admitted] == [ReasonCode.INSUFFICIENT_RESOURCES] * 3


_PLAIN = {
    "uid": make_uid(1, 0),
    "project": "a",
    "queue": "q",
    "priority": 0,
    "created_at": NOW,
    "not_before": None,
    "demand": Resources(),
}
