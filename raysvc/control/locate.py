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
        if not _UID.fullmatch(name):
            raise
        job = await jobs.get_by_uid(name)
        if (job.deleted and not deleted) or project not in {None, job.project}:
            raise
    try:
        access.authorise(principal, Verb.READ, Resource.JOB, job.project)
    except NotFound as error:
        raise NotFound(f"There is no job {name!r} that this token can see.") from error
    return job
