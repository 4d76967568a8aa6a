"""Whose jobs are on a cluster: a dashboard and Ray's state calls show all of them to whoever looks."""

from datetime import datetime, timedelta

from raysvc.api.cluster.allow import Access
from raysvc.control.platform import Platform
from raysvc.domain.access import Principal
from raysvc.domain.job import Job
from raysvc.errors import Forbidden, NotFound

# What the cluster itself was found to hold is believed this long: a dashboard asks a dozen times a second.
FRESH = timedelta(seconds=1)
MAX_KNOWN = 10_000
# An object on the cluster that no record claims: nobody's, so only for those who see everything.
UNKNOWN = ""


class Sharing:
    """Lets only those look at a cluster who may see every project that has a job on it, running or kept.

    A job is known as soon as it is on its way, since that is on record before the cluster hears of it. Only one that
    starts and ends within the second after a look at the cluster is seen at the next one.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._found: dict[str, tuple[datetime, frozenset[str]]] = {}
        self._placements: dict[tuple[str, int], tuple[str, str | None]] = {}

    async def check(self, principal: Principal, cluster: str, access: Access) -> None:
        """Return where the principal may look; raises Forbidden with the reason, Unavailable where Ray is silent."""
        if not principal.projects:
            return
        hidden = {project for project in await self._kept(cluster) if not principal.sees(project)}
        hidden |= await self._placed(principal, cluster)
        if hidden:
            raise Forbidden(
                f"Cluster {cluster} also holds jobs of {len(hidden)} other project(s), and what Ray shows of a cluster "
                "cannot be told apart by project. It takes a token that may see all of them; the jobs of your own "
                "project are at /jobs, /v1/jobs and `ray job list`."
            )
        if access is Access.FILES:
            everyone = [project.name for project in await self._platform.store.projects.list()]
            if not all(map(principal.sees, everyone)):
                raise Forbidden(
                    f"The log files of cluster {cluster} may be those of any project that ever ran there. It takes an "
                    "admin's token for every project; a job's own log is at `ray job logs ID` and `raysvc job logs ID`."
                )

    async def _kept(self, cluster: str) -> frozenset[str]:
        """Return the projects with a job that the cluster keeps, running or not; UNKNOWN is among them for orphans."""
        now = self._platform.clock.now()
        found = self._found.get(cluster)
        if found is None or abs(now - found[0]) >= FRESH:
            found = (now, frozenset(await self._look(cluster)))
            self._found[cluster] = found
        return found[1]

    async def _look(self, cluster: str) -> set[str]:
        projects = set()
        async for ref in self._platform.backend.jobs.owned():
            project, where = await self._placement(ref.uid, ref.attempt)
            if where in {cluster, None}:
                projects.add(project)
        return projects

    async def _placed(self, principal: Principal, cluster: str) -> set[str]:
        """Return the projects that the principal cannot see and that have a job on its way to the cluster, or there."""
        projects: set[str] = set()
        for row in await self._platform.store.jobs.placed():
            if not principal.sees(row.project) and row.project not in projects:
                job = await self._platform.store.jobs.get_by_uid(row.uid)
                projects |= {job.project} if job.cluster == cluster else set()
        return projects

    async def _placement(self, uid: str, attempt: int) -> tuple[str, str | None]:
        """Return the project and cluster of an attempt, neither of which ever changes."""
        known = self._placements.get((uid, attempt))
        if known is not None:
            return known
        try:
            job = await self._platform.store.jobs.get_by_uid(uid)
        except NotFound:
            return UNKNOWN, None
        placement = job.project, _cluster(job, attempt)
        if len(self._placements) >= MAX_KNOWN:
            self._placements.clear()
        self._placements[uid, attempt] = placement
        return placement


def _cluster(job: Job, attempt: int) -> str | None:
    return next((made.cluster for made in job.attempts if made.number == attempt), None)
