"""Thousands of jobs: each has its turn, and none costs more because there are others."""

import copy
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysvc.control import agenda, housekeeping, schedule
from raysvc.control.queue import PAUSED, Queue
from raysvc.control.schedule import Verdict
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.event import EventKind
from raysvc.domain.job import JobPhase, JobRef
from raysvc.domain.observation import Observation
from raysvc.domain.project import Limits
from raysvc.domain.query import PlacedRow, Snapshot, WaitingRow
from raysvc.domain.resources import Resources

from .test_schedule import NOW, row, running
from .world import Place

RUNNING = 12


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(agenda, "DUE_LIMIT", 3)
    place = await Place().open()
    place.backend.cluster = place.backend.cluster.model_copy(
        update={"max_running_jobs": RUNNING, "free_memory": None, "resources": Resources(cpus=RUNNING)}
    )
    return place


async def test_more_jobs_than_one_pass_looks_at_each_have_their_turn(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await place.submit("sleep 1000") for _ in range(RUNNING)]
    await place.pass_by(20)
    assert {(await place.now(job)).phase for job in jobs} == {JobPhase.RUNNING}
    looks: dict[str, int] = {}
    observe = place.backend.jobs.observe

    async def counted(ref: JobRef) -> Observation:
        looks[ref.uid] = looks.get(ref.uid, 0) + 1
        return await observe(ref)

    monkeypatch.setattr(place.backend.jobs, "observe", counted)
    await place.pass_by(40, step_s=0.5)  # 80 passes of 3 looks each, over 12 jobs
    assert looks.keys() == {job.uid for job in jobs}
    assert max(looks.values()) - min(looks.values()) <= 1
    await place.archive.close()


async def test_a_stop_is_looked_at_before_those_whose_turn_it_would_be(place: Place) -> None:
    jobs = [await place.submit("sleep 1000") for _ in range(RUNNING)]
    await place.pass_by(20)
    kept = await place.now(jobs[-1])
    now = place.clock.now()
    after, event = kept.change(EventKind.STOP_REQUESTED, now, actor="ada", stop_requested=True, due_at=now)
    await place.store.jobs.save(after, [event])
    await place.pass_by(6)
    assert (await place.now(kept)).phase is JobPhase.CANCELLED
    await place.archive.close()


async def test_the_scheduler_rests_while_the_cluster_is_full(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(RUNNING + 5):
        await place.submit("sleep 1000")
    await place.pass_by(20)
    passes = 0
    verdicts = Queue.verdicts

    async def counted(queue: Queue) -> tuple[Verdict, ...]:
        nonlocal passes
        passes += 1
        return await verdicts(queue)

    monkeypatch.setattr(Queue, "verdicts", counted)
    await place.pass_by(10, step_s=0.1)
    assert passes <= 11
    await place.archive.close()


async def test_the_scheduler_rests_while_admission_is_paused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    await place.store.flags.put(PAUSED, "for a while")
    await place.pass_by(2)
    passes = 0
    verdicts = Queue.verdicts

    async def counted(queue: Queue) -> tuple[Verdict, ...]:
        nonlocal passes
        passes += 1
        return await verdicts(queue)

    monkeypatch.setattr(Queue, "verdicts", counted)
    job = await place.submit("sleep 1000")
    await place.pass_by(10, step_s=0.1)
    assert passes <= 11
    await place.store.flags.put(PAUSED, None)
    await place.pass_by(6, step_s=0.5)
    assert (await place.now(job)).phase is JobPhase.RUNNING
    await place.archive.close()


def snapshot(waiting: tuple[WaitingRow, ...], placed: tuple[PlacedRow, ...], **about: Any) -> Snapshot:
    cluster = Cluster(
        name="c", project="a", backend="b", phase=ClusterPhase.READY, resources=Resources(cpus=8), max_running_jobs=6
    )
    limits = {"a": Limits(max_running_jobs=3), "b": Limits(max_cpus=5)}
    return Snapshot(waiting=waiting, placed=placed, cluster=cluster, limits=limits, **about)


DEMANDS = [Resources(cpus=cpus) for cpus in (0, 1, 3, 100)]
WAITING = st.builds(
    lambda n, project, demand, late: row(n, project=project).model_copy(
        update={"demand": DEMANDS[demand], "not_before": NOW + timedelta(hours=late) if late else None}
    ),
    st.integers(0, 99),
    st.sampled_from("ab"),
    st.integers(0, 3),
    st.sampled_from([0, 0, 0, 5]),
)
PLACED = st.builds(
    lambda n, project, demand: running(n, project=project).model_copy(update={"demand": DEMANDS[demand]}),
    st.integers(0, 99),
    st.sampled_from("ab"),
    st.integers(0, 2),
)


@given(st.lists(WAITING, max_size=20), st.lists(PLACED, max_size=4))
def test_equal_rows_are_told_what_each_alone_would_be(waiting: list[WaitingRow], placed: list[PlacedRow]) -> None:
    shared = snapshot(tuple(waiting), tuple(placed))
    alone = snapshot(
        tuple(r.model_copy(update={"demand": copy.deepcopy(r.demand)}) for r in waiting),
        tuple(r.model_copy(update={"demand": copy.deepcopy(r.demand)}) for r in placed),
    )
    assert schedule.schedule(shared, NOW) == schedule.schedule(alone, NOW)


def test_of_thousands_that_wait_a_few_kinds_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    blocked = schedule._blocked  # noqa: SLF001 what is counted

    def counted(*arguments: Any) -> Any:
        nonlocal looked
        looked += 1
        return blocked(*arguments)

    monkeypatch.setattr(schedule, "_blocked", counted)
    rows = tuple(row(n, project="xyz"[n % 3]).model_copy(update={"demand": DEMANDS[n % 2]}) for n in range(6000))
    placements = schedule.schedule(snapshot(rows, ()), NOW)
    assert (len(placements), sum(p.admitted for p in placements)) == (6000, 6)
    assert looked <= 6 * 7 + 6


async def test_a_long_history_is_pruned_in_batches_and_not_one_batch_a_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 3)
    monkeypatch.setattr(housekeeping, "MOST_BATCHES", 4)
    jobs = [await place.submit("true") for _ in range(15)]
    await place.pass_by(60)
    assert all([(await place.now(job)).finalised for job in jobs])
    place.clock.advance(86_400)
    retention = housekeeping.Retention(finished_jobs=timedelta(hours=1))
    chores = housekeeping.Housekeeper(place.store, place.backend, place.blobs, place.archive, place.clock, retention)
    assert [await chores.prune() for _ in range(3)] == [12, 3, 0]
    await place.archive.close()
