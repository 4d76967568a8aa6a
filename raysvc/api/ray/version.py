"""What Ray's clients ask before anything else, and what an idle detector asks."""

from starlette.requests import Request
from starlette.responses import Response

from raysvc.api.plain import reply
from raysvc.api.ray.caller import caller
from raysvc.control.platform import Platform
from raysvc.domain.job import TERMINAL
from raysvc.domain.query import JobQuery

# The Jobs API's own version (ray/dashboard/modules/version.py): the CLI tails only where it is a positive number.
API_VERSION = "4"
# The highest Ray that we serve, and its commit. Clients compare the first with what each of their options needs.
RAY_VERSION = "2.60.0"
RAY_COMMIT = "b7f4259e944bf6959f721b106adc366ddfa0c356"
# How many ended jobs are looked at for the latest end: lists are by submission, not by end.
RECENT = 50


class VersionRoutes:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def version(self, request: Request) -> Response:
        """Tell the versions, to those with a token: so a wrong one is found out first."""
        await caller(request)
        return reply(
            {
                "version": API_VERSION,
                "ray_version": RAY_VERSION,
                "ray_commit": RAY_COMMIT,
                "session_name": "raysvc",
            }
        )

    async def activities(self, request: Request) -> Response:
        """Tell whether the project has work, queued or running, and when a job last ended."""
        who, project = await caller(request)
        # Also the check that the caller may see the project.
        ended = await self._platform.desk.find(who, JobQuery(projects=(project,), phases=tuple(TERMINAL), limit=RECENT))
        placed = sum(row.project == project for row in await self._platform.store.jobs.placed())
        active = placed + await self._platform.store.jobs.count_queued(project)
        last = max((job.finished_at for job in ended.items if job.finished_at), default=None)
        driver = {
            "is_active": "ACTIVE" if active else "INACTIVE",
            "reason": f"Number of active drivers: {active}" if active else None,
            "timestamp": self._platform.clock.now().timestamp(),
            "last_activity_at": last.timestamp() if last else None,
        }
        return reply({"driver": driver})
