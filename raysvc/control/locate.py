"""Finding a job by what people have in hand: its id in a project, or its uid, which says the project itself."""

import re

from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.job import Job
from raysvc.errors import NotFound
from raysvc.ports import Jobs

_UID = re.compile(r"[0-9a-hjkmnp-tv-z]{16}")


async def locate(
    jobs: Jobs, principal: Principal, name: str, *, project: str | None, home: str, deleted: bool = False
) -> Job:
    """Return the job of that id in `project` (None: in `home`), or of that uid in any project the principal sees.

    Raises NotFound. With `deleted` a uid also finds a job that was deleted, whose events are still there.
    """
    try:
        access.authorise(principal, Verb.READ, Resource.JOB, project or home)
        return await jobs.get(project or home, name)
    except NotFound:
        job = await _by_uid(jobs, name)
        # In the same words for a job of another project as for one that is not there.
        if (
            job is None
            or (job.deleted and not deleted)
            or project not in {None, job.project}
            or not principal.sees(job.project)
        ):
            raise
    access.authorise(principal, Verb.READ, Resource.JOB, job.project)
    return job


async def _by_uid(jobs: Jobs, name: str) -> Job | None:
    try:
        return await jobs.get_by_uid(name) if _UID.fullmatch(name) else None
    except NotFound:
        return None
