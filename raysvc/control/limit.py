"""Projects and their limits, as the hot path reads them."""

from datetime import datetime, timedelta

from raysvc.domain.project import Project
from raysvc.errors import NotFound
from raysvc.ports import Clock, Projects

# A changed limit takes effect within this time.
FRESH = timedelta(seconds=1)


class ProjectCache:
    """Reads a project at most once a second."""

    def __init__(self, projects: Projects, clock: Clock) -> None:
        self._projects = projects
        self._clock = clock
        self._known: dict[str, tuple[datetime, Project]] = {}

    async def get(self, name: str) -> Project:
        """Return the project; raises NotFound with what to do."""
        now = self._clock.now()
        known = self._known.get(name)
        if known is not None and abs(now - known[0]) < FRESH:
            return known[1]
        try:
            project = await self._projects.get(name)
        except NotFound as error:
            raise NotFound(
                f"There is no project {name!r}. An admin makes one with `raysvc project create {name}`."
            ) from error
        self._known[name] = (now, project)
        return project
