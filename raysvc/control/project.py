"""Projects and their limits, as people manage them."""

from collections.abc import Sequence

from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.project import Limits, Project
from raysvc.errors import AlreadyExists, NotFound
from raysvc.ports import Clock, Projects


class ProjectDesk:
    """Each verb checks the principal first. With `dry_run` a write is checked and returned, and not kept."""

    def __init__(self, projects: Projects, clock: Clock) -> None:
        self._projects = projects
        self._clock = clock

    async def find(self, principal: Principal) -> Sequence[Project]:
        """Return the projects that the principal sees, by name."""
        seen = [project for project in await self._projects.list() if principal.sees(project.name)]
        return sorted(seen, key=lambda project: project.name)

    async def get(self, principal: Principal, name: str) -> Project:
        """Return the project; raises NotFound."""
        access.authorise(principal, Verb.READ, Resource.PROJECT, name)
        return await self._projects.get(name)

    async def create(self, principal: Principal, name: str, limits: Limits, *, dry_run: bool = False) -> Project:
        """Make a project; raises AlreadyExists."""
        # A scoped token cannot see the new name, but it may be told that making projects is not for it.
        access.authorise(principal, Verb.MANAGE, Resource.PROJECT, next(iter(principal.projects), name))
        try:
            await self._projects.get(name)
        except NotFound:
            return await self._put(Project(name=name, limits=limits, created_at=self._clock.now()), dry_run)
        raise AlreadyExists(f"There is a project {name!r} already. Its limits are changed with `raysvc project set`.")

    async def limit(self, principal: Principal, name: str, limits: Limits, *, dry_run: bool = False) -> Project:
        """Set the project's limits, all of them; takes effect within a second. May be repeated. Raises NotFound."""
        access.authorise(principal, Verb.MANAGE, Resource.PROJECT, name)
        project = await self._projects.get(name)
        return await self._put(project.model_copy(update={"limits": limits}), dry_run)

    async def _put(self, project: Project, dry_run: bool) -> Project:
        if not dry_run:
            await self._projects.put(project)
        return project
