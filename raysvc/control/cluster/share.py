"""Jobs that name a cluster: each such cluster has a queue of its own, beside that of the platform's."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from raysvc.control.schedule import Verdict, schedule
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.job import JobPhase
from raysvc.domain.query import PlacedRow, SharingRow, Snapshot, WaitingRow
from raysvc.domain.reason import ReasonCode, reason
from raysvc.errors import Invalid, NotFound
from raysvc.ports import Hosting, Store

ALONE = (
    "This server has one cluster, on which all jobs run: leave the cluster out. Others are made on Kubernetes: "
    "`raysvc up --kube`."
)
Row = TypeVar("Row", WaitingRow, PlacedRow)


def named(rows: Sequence[Row], sharing: Iterable[SharingRow]) -> tuple[Row, ...]:
    """Return the rows, each with the cluster that its job names."""
    names = {row.uid: row.cluster for row in sharing}
    return tuple(row.model_copy(update={"cluster": names[row.uid]}) if row.uid in names else row for row in rows)


async def shared(store: Store, sharing: Iterable[SharingRow], backend: str) -> tuple[Cluster, ...]:
    """Return the clusters that jobs name, as they are on record: one that is gone as such."""
    wanted = {(row.project, row.cluster) for row in sharing}
    if not wanted:
        return ()
    there = {(record.project, record.id): record.shown(backend) for record in await store.clusters.live()}
    return tuple(there.get(name) or _gone(*name, backend) for name in sorted(wanted))


async def check_named(store: Store, backend: object, project: str, name: str) -> None:
    """Return where a job of the project may name this cluster; raises Invalid."""
    if not isinstance(backend, Hosting):
        raise Invalid(ALONE, field="cluster")
    try:
        record = await store.clusters.get(project, name)
    except NotFound as error:
        raise Invalid(
            f"Project {project} has no cluster {name!r} that jobs may name: `raysvc cluster create {name} --project "
            f"{project}` makes one. Without a cluster, a job gets its own.",
            field="cluster",
        ) from error
    if record.stop_requested:
        raise Invalid(f"Cluster {name} is being deleted.", field="cluster")


def schedule_each(snapshot: Snapshot, now: datetime) -> tuple[Verdict, ...]:
    """Return a verdict for every waiting row: what starts on one cluster counts against its project on the next."""
    if not snapshot.shared:
        return schedule(snapshot, now)
    placed = snapshot.placed
    verdicts: list[Verdict] = []
    for cluster in (snapshot.cluster, *snapshot.shared):
        own = cluster is snapshot.cluster
        waiting = tuple(row for row in snapshot.waiting if (row.cluster is None if own else _names(row, cluster)))
        terrain = snapshot.terrain if own else None
        update = {"waiting": waiting, "placed": placed, "cluster": cluster, "terrain": terrain, "shared": ()}
        found = schedule(snapshot.model_copy(update=update), now)
        verdicts += [it.model_copy(update={"on": cluster.uid}) for it in found] if cluster.uid else found
        admitted = {verdict.uid for verdict in found if verdict.admitted}
        placed += tuple(_placed(row) for row in waiting if row.uid in admitted)
    return tuple(verdicts)


def _names(row: WaitingRow, cluster: Cluster) -> bool:
    return (row.project, row.cluster) == (cluster.project, cluster.name)


def _placed(row: WaitingRow) -> PlacedRow:
    return PlacedRow(uid=row.uid, project=row.project, phase=JobPhase.STARTING, demand=row.demand, cluster=row.cluster)


def _gone(project: str, name: str, backend: str) -> Cluster:
    why = f"Project {project} has no cluster of this name any more: stop the job, or `raysvc cluster create {name}`."
    gone, said = ClusterPhase.GONE, reason(ReasonCode.CLUSTER_NOT_READY, why)
    return Cluster(name=name, project=project, backend=backend, phase=gone, reason=said, owner="raysvc")
