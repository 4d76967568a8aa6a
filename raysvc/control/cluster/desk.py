"""What people do with clusters: create, look, scale, adopt, delete."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from raysvc.control.cluster.share import ALONE
from raysvc.control.floor import Floor
from raysvc.control.jobs import JobDesk
from raysvc.control.signal import Signals
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.cluster import Cluster, Foreign, NewCluster, NewScale, SharedCluster, create, scale
from raysvc.domain.event import Event, EventKind
from raysvc.domain.query import SharingRow
from raysvc.domain.rendered import Rendered
from raysvc.errors import AlreadyExists, Conflict, Invalid, NotFound, StaleVersion, Unavailable
from raysvc.ports import Clock, Hosting, Ids, SharedClusters, Store

BACKEND = "kuberay"


class Made(NamedTuple):
    """The cluster as it is shown, and in a dry run what the backend would be sent."""

    cluster: Cluster
    rendered: Rendered | None = None


@dataclass(frozen=True)
class ClusterPlace:
    """What the desk stands on. `backend`: one that is no `Hosting` can make no clusters."""

    store: Store
    backend: object
    floor: Floor
    jobs: JobDesk
    name: str
    clock: Clock
    ids: Ids
    signals: Signals


class ClusterDesk:
    """Each verb checks the principal first. Writes are compare-and-set, and tried again where the loop was first.

    With `dry_run` a verb makes the same checks and keeps nothing.
    """

    def __init__(self, place: ClusterPlace) -> None:
        self._place = place
        self._records = place.store.clusters
        self._driver = place.backend.shared if isinstance(place.backend, Hosting) else None

    async def find(self, principal: Principal, project: str | None = None) -> Sequence[Cluster]:
        """Return the clusters of the project, or of all that the principal sees, by name; raises NotFound.

        The platform's own, those that jobs share, and foreign ones.
        """
        if project is not None:
            access.authorise(principal, Verb.READ, Resource.CLUSTER, project)
        found = [*await self._place.floor.clusters(principal)]
        found += [it.shown(BACKEND) for it in await self._records.live()]
        found += [it.cluster for it in await self._foreign()]
        seen = (it for it in found if principal.sees(it.project) and project in {None, it.project})
        return sorted(seen, key=lambda cluster: (cluster.name, cluster.project))

    async def get(self, principal: Principal, project: str, name: str) -> Cluster:
        """Return the project's shared cluster, or else the platform's or a foreign one; raises NotFound."""
        if principal.sees(project):
            try:
                return (await self._records.get(project, name)).shown(BACKEND)
            except NotFound:
                pass
        try:
            return await self._place.floor.cluster(principal, name)
        except NotFound:
            found = next((it.cluster for it in await self._foreign() if it.cluster.name == name), None)
            if found is None or not principal.sees(found.project):
                raise
            return found

    async def create(self, principal: Principal, project: str, new: NewCluster, *, dry_run: bool = False) -> Made:
        """Make a cluster that the project's jobs may name; durable on return, and made at once.

        Raises AlreadyExists, Invalid for what the backend cannot make, Conflict where it can make none, NotFound.
        """
        access.authorise(principal, Verb.MANAGE, Resource.CLUSTER, project)
        return await self._add(principal, project, new, dry_run=dry_run)

    async def adopt(self, principal: Principal, project: str, name: str, *, dry_run: bool = False) -> Made:
        """Take a cluster that others made, under its own name: from now on it is marked, scaled, suspended, deleted.

        Raises NotFound where there is none that is foreign, AlreadyExists, Conflict.
        """
        access.authorise(principal, Verb.MANAGE, Resource.CLUSTER, project)
        self._require()
        found = next((it for it in await self._foreign(required=True) if it.cluster.name == name), None)
        if found is None or not principal.sees(found.cluster.project):
            raise NotFound(f"There is no cluster {name!r} that somebody else made. `raysvc cluster list` shows them.")
        new = NewCluster(name=name, spec=found.spec)
        return await self._add(principal, project, new, adopted=name, dry_run=dry_run)

    async def scale(
        self, principal: Principal, project: str, name: str, new: NewScale, *, dry_run: bool = False
    ) -> Cluster:
        """Ask for other bounds of a group of workers; Ray's autoscaler moves between them. Raises NotFound, Invalid."""
        access.authorise(principal, Verb.MANAGE, Resource.CLUSTER, project)
        while True:
            record = await self._records.get(project, name)
            _check_kept(record)
            try:
                after, event = scale(record, new, self._place.clock.now(), actor=principal.name)
            except ValueError as error:
                raise Invalid(f"Cluster {name} cannot be scaled so: {error}.", field="group") from error
            if dry_run or await self._save(after, event):
                return after.shown(BACKEND)

    async def delete(
        self, principal: Principal, project: str, name: str, *, force: bool = False, dry_run: bool = False
    ) -> Cluster:
        """Wish it gone; durable on return, may be repeated. Raises Conflict while jobs live on it.

        With `force` those are stopped.
        """
        access.authorise(principal, Verb.MANAGE, Resource.CLUSTER, project)
        while True:
            record = await self._records.get(project, name)
            jobs = [row for row in await self._place.store.jobs.sharing() if _on(row, record)]
            if jobs and not force:
                raise Conflict(
                    f"{len(jobs)} job(s) that have not ended name cluster {name}. Stop them first, or delete it with "
                    "--force, which stops them."
                )
            if record.stop_requested or dry_run:
                return record.shown(BACKEND)
            now = self._place.clock.now()
            message = f"delete asked for by {principal.name}"
            after, event = record.change(
                EventKind.STOP_REQUESTED, now, actor=principal.name, message=message, stop_requested=True
            )
            if await self._save(after, event):
                await self._stop(principal, jobs)
                return after.shown(BACKEND)

    async def _add(
        self, principal: Principal, project: str, new: NewCluster, *, adopted: str | None = None, dry_run: bool
    ) -> Made:
        driver = self._require()
        await self._place.store.projects.get(project)
        if new.name == self._place.name:
            raise AlreadyExists(f"{new.name!r} is the platform's own cluster. Choose another name.", field="name")
        now = self._place.clock.now()
        about = {"uid": self._place.ids.uid(now), "project": project, "owner": principal.name}
        record, event = create(new, now=now, adopted=adopted, **about)
        rendered = None if adopted else driver.render(record)
        if not dry_run:
            await self._records.add(record, [event])
            self._place.signals.notify(Signals.CLUSTERS)
            return Made(record.shown(BACKEND))
        if any((it.project, it.id) == (project, new.name) for it in await self._records.live()):
            raise AlreadyExists(f"Project {project!r} has a cluster {new.name!r} already.", field="name")
        return Made(record.shown(BACKEND), rendered)

    async def _stop(self, principal: Principal, rows: Sequence[SharingRow]) -> None:
        for job in await self._place.store.jobs.get_many([row.uid for row in rows]):
            await self._place.jobs.stop(principal, job.project, job.id)

    async def _foreign(self, *, required: bool = False) -> Sequence[Foreign]:
        try:
            return await self._driver.foreign() if self._driver else ()
        except Unavailable:
            if required:
                raise
            return ()  # a list must show without them

    def _require(self) -> SharedClusters:
        if self._driver is None:
            raise Conflict(ALONE)
        return self._driver

    async def _save(self, record: SharedCluster, event: Event) -> bool:
        try:
            await self._records.save(record, [event])
        except StaleVersion:
            return False  # the loop moved it meanwhile: decide anew on what it is now
        self._place.signals.notify(Signals.CLUSTERS)
        return True


def _check_kept(record: SharedCluster) -> None:
    if record.stop_requested:
        raise Conflict(f"Cluster {record.id} is being deleted.")


def _on(row: SharingRow, record: SharedCluster) -> bool:
    return (row.project, row.cluster) == (record.project, record.id)
