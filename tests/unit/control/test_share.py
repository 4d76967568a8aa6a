"""Jobs that name a cluster wait for it and for nothing else; limits of their project hold over all clusters."""

from raysvc.control.cluster.share import schedule_each
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.job import JobPhase
from raysvc.domain.project import Limits
from raysvc.domain.query import PlacedRow, Snapshot, WaitingRow
from raysvc.domain.reason import ReasonCode
from raysvc.domain.resources import Resources
from tests.contract.store.make import START

P = ClusterPhase
OWN = Cluster(
    name="local", project="default", backend="fake", phase=P.READY, resources=Resources(cpus=4), max_running_jobs=1
)


def shared(name: str, phase: ClusterPhase = P.READY, *, project: str = "default", number: int = 1) -> Cluster:
    about = {"name": name, "project": project, "phase": phase, "uid": f"{number:016d}", "max_running_jobs": 1}
    return Cluster(backend="fake", owner="raysvc", resources=Resources(cpus=2), **about)


def row(number: int, cluster: str | None, *, project: str = "default", cpus: float = 1) -> WaitingRow:
    return WaitingRow(
        uid=f"{number:016d}",
        project=project,
        queue="default",
        priority=0,
        created_at=START,
        not_before=None,
        demand=Resources(cpus=cpus),
        cluster=cluster,
    )


def told(snapshot: Snapshot) -> dict[int, tuple[bool, ReasonCode, str | None]]:
    return {int(it.uid): (it.admitted, it.reason.code, it.on) for it in schedule_each(snapshot, START)}


def test_each_cluster_takes_its_own_beside_the_others() -> None:
    waiting = (row(1, None), row(2, None), row(3, "lab"), row(4, "lab"), row(5, "other"))
    clusters = (shared("lab", number=7), shared("other", P.SUSPENDED, number=8))
    found = told(Snapshot(waiting=waiting, placed=(), cluster=OWN, shared=clusters))
    assert found == {
        1: (True, ReasonCode.SUBMITTING, None),
        2: (False, ReasonCode.CLUSTER_BUSY, None),
        3: (True, ReasonCode.SUBMITTING, f"{7:016d}"),
        4: (False, ReasonCode.CLUSTER_BUSY, f"{7:016d}"),
        5: (False, ReasonCode.CLUSTER_NOT_READY, f"{8:016d}"),
    }


def test_what_runs_on_one_cluster_takes_no_room_of_another() -> None:
    placed = PlacedRow(
        uid=f"{9:016d}", project="default", phase=JobPhase.RUNNING, demand=Resources(cpus=2), cluster="lab"
    )
    waiting = (row(1, None, cpus=4), row(2, "lab", cpus=2))
    found = told(Snapshot(waiting=waiting, placed=(placed,), cluster=OWN, shared=(shared("lab"),)))
    assert (found[1][0], found[2][1]) == (True, ReasonCode.CLUSTER_BUSY)


def test_clusters_of_one_name_in_two_projects_are_two() -> None:
    clusters = (shared("lab", number=7), shared("lab", P.STARTING, project="b", number=8))
    waiting = (row(1, "lab"), row(2, "lab", project="b"))
    found = told(Snapshot(waiting=waiting, placed=(), cluster=OWN, shared=clusters))
    assert (found[1][2], found[2][:2]) == (f"{7:016d}", (False, ReasonCode.CLUSTER_NOT_READY))


def test_what_starts_on_one_counts_against_its_project_on_the_next() -> None:
    limits = {"default": Limits(max_running_jobs=1)}
    waiting = (row(1, None), row(2, "lab"))
    found = told(Snapshot(waiting=waiting, placed=(), cluster=OWN, shared=(shared("lab"),), limits=limits))
    assert (found[1][0], found[2][:2]) == (True, (False, ReasonCode.PROJECT_LIMIT))


def test_more_than_its_workers_can_ever_have_is_said() -> None:
    found = told(Snapshot(waiting=(row(1, "lab", cpus=3),), placed=(), cluster=OWN, shared=(shared("lab"),)))
    assert found[1][1] is ReasonCode.EXCEEDS_CAPACITY
