"""Which waiting jobs start, and why the others do not."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from raysvc.control.schedule import GIB, Verdict, order, schedule
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.job import JobPhase
from raysvc.domain.model import make_uid
from raysvc.domain.project import Limits
from raysvc.domain.query import PlacedRow, Snapshot, WaitingRow
from raysvc.domain.resources import Resources, Scale

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def row(n: int, *, project: str = "default", priority: int = 0, cpus: float = 0, gpus: float = 0) -> WaitingRow:
    return WaitingRow(
        uid=make_uid(n, 0),
        project=project,
        queue="default",
        priority=priority,
        created_at=NOW + timedelta(seconds=n),
        not_before=None,
        demand=Resources(cpus=cpus, gpus=gpus),
    )


def running(n: int, *, project: str = "default", cpus: float = 0, phase: JobPhase = JobPhase.RUNNING) -> PlacedRow:
    return PlacedRow(uid=make_uid(n, 1), project=project, phase=phase, demand=Resources(cpus=cpus))


def cluster(**fields: object) -> Cluster:
    usual = {
        "name": "local",
        "project": "default",
        "backend": "local",
        "phase": ClusterPhase.READY,
        "resources": Resources(cpus=8, gpus=2),
        "max_running_jobs": 4,
    }
    return Cluster.model_validate({**usual, **fields})


def verdicts(*waiting: WaitingRow, **fields: object) -> list[str]:
    snapshot = Snapshot.model_validate({"waiting": waiting, "placed": (), "cluster": cluster(), **fields})
    return [said(p) for p in schedule(snapshot, NOW + timedelta(hours=1))]


def said(verdict: Verdict) -> str:
    return "start" if verdict.admitted else verdict.reason.code.value


def test_first_come_first_served_within_a_priority() -> None:
    rows = [row(2), row(1), row(3, priority=5)]
    assert [r.uid for r in order(rows)] == [rows[2].uid, rows[1].uid, rows[0].uid]


def test_a_cluster_runs_no_more_jobs_than_it_may() -> None:
    assert verdicts(*(row(n) for n in range(6)), placed=(running(1),)) == ["start"] * 3 + ["CLUSTER_BUSY"] * 3


def test_a_job_larger_than_the_cluster_stands_aside() -> None:
    assert verdicts(row(1, cpus=100), row(2, cpus=1)) == ["EXCEEDS_CAPACITY", "start"]


def test_a_cluster_that_can_grow_takes_a_job_larger_than_it_is() -> None:
    assert verdicts(row(1, cpus=100), cluster=cluster(autoscaling=Scale(max=20))) == ["start"]


def test_small_jobs_do_not_starve_a_large_one_that_is_first() -> None:
    waits = verdicts(row(1, cpus=6), row(2, cpus=3), row(3), placed=(running(1, cpus=4),))
    assert waits == ["INSUFFICIENT_RESOURCES", "INSUFFICIENT_RESOURCES", "start"]


def test_one_project_cannot_block_another() -> None:
    limits = {"greedy": Limits(max_running_jobs=1)}
    waiting = [row(n, project="greedy") for n in range(3)] + [row(9, project="modest")]
    assert verdicts(*waiting, limits=limits) == ["start", "PROJECT_LIMIT", "PROJECT_LIMIT", "start"]


def test_a_projects_cpus_and_gpus_are_limited_over_what_runs() -> None:
    limits = {"default": Limits(max_cpus=4, max_gpus=1)}
    placed = (running(1, cpus=3),)
    assert verdicts(row(1, cpus=5), row(2, cpus=1), row(3, gpus=2), limits=limits, placed=placed) == [
        "PROJECT_LIMIT",
        "start",
        "PROJECT_LIMIT",
    ]


def test_small_jobs_of_a_project_do_not_starve_a_large_one_that_is_first_under_its_limit() -> None:
    limits = {"default": Limits(max_cpus=4, max_gpus=1)}
    waiting = [row(1, cpus=4), row(2, cpus=1), row(3, gpus=1), row(4, cpus=1, project="other")]
    waits = verdicts(*waiting, limits=limits, placed=(running(1, cpus=3),))
    assert waits == ["PROJECT_LIMIT", "PROJECT_LIMIT", "start", "start"]


def test_nothing_starts_while_admission_is_paused_or_the_cluster_is_not_ready() -> None:
    assert verdicts(row(1), paused=True) == ["ADMISSION_PAUSED"]
    assert verdicts(row(1), cluster=cluster(phase=ClusterPhase.STARTING)) == ["CLUSTER_NOT_READY"]


def test_a_backoff_is_waited_out_and_holds_nobody_up() -> None:
    waiting = row(1).model_copy(update={"not_before": NOW + timedelta(hours=2)})
    assert verdicts(waiting, row(2)) == ["BACKOFF", "start"]


def test_memory_is_left_for_what_runs_but_one_job_may_always_run() -> None:
    short = cluster(free_memory=GIB)
    assert verdicts(row(1), row(2), row(3), cluster=short) == ["start", "LOW_MEMORY", "LOW_MEMORY"]
    assert verdicts(row(1), row(2), cluster=short, placed=(running(1),)) == ["start", "LOW_MEMORY"]
    assert verdicts(row(1), cluster=cluster(free_memory=0)) == ["start"]


def test_small_jobs_do_not_starve_one_that_waits_for_memory() -> None:
    large = row(1).model_copy(update={"demand": Resources(memory=2 * GIB)})
    roomy = cluster(free_memory=2 * GIB, resources=Resources(cpus=8, memory=8 * GIB))
    assert verdicts(large, row(2), cluster=roomy, placed=(running(1),)) == ["LOW_MEMORY", "LOW_MEMORY"]


@given(
    waiting=st.lists(
        st.builds(
            row,
            st.integers(1, 50),
            project=st.sampled_from(["a", "b"]),
            priority=st.integers(-2, 2),
            cpus=st.integers(0, 10),
            gpus=st.integers(0, 3),
        ),
        max_size=30,
        unique_by=lambda r: r.uid,
    ),
    slots=st.integers(0, 6),
    limit=st.none() | st.integers(0, 5),
)
def test_never_above_capacity_or_limits_and_never_idle_for_nothing(
    waiting: list[WaitingRow], slots: int, limit: int | None
) -> None:
    snapshot = Snapshot(
        waiting=tuple(waiting),
        placed=(),
        limits={"a": Limits(max_running_jobs=limit)},
        cluster=cluster(max_running_jobs=slots),
    )
    placements = schedule(snapshot, NOW + timedelta(hours=1))
    by_uid = {r.uid: r for r in waiting}
    started = [by_uid[p.uid] for p in placements if p.admitted]
    assert [p.position for p in placements] == list(range(1, len(waiting) + 1))
    assert len(started) <= slots
    assert sum(r.demand.cpus for r in started) <= 8
    assert sum(r.demand.gpus for r in started) <= 2
    if limit is not None:
        assert sum(r.project == "a" for r in started) <= limit
    if slots and not started and limit is None:
        assert all(r.demand.shortfall(Resources(cpus=8, gpus=2)) for r in waiting)
