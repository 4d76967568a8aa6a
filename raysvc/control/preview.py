"""What stopping or deleting a job would send to its cluster: nothing is changed."""

from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.job import PLACED, Job, JobRef
from raysvc.domain.rendered import Rendered
from raysvc.errors import Conflict
from raysvc.ports import Driver, Foreseeable

NOTHING = Rendered(format="http", documents=())


def preview_stop(driver: Driver[Job, JobRef], principal: Principal, job: Job) -> Rendered:
    """Return what a stop would send: nothing for a job that waits or has ended. Raises Forbidden."""
    access.authorise(principal, Verb.STOP, Resource.JOB, job.project)
    if job.ref is None or job.phase not in PLACED or not isinstance(driver, Foreseeable):
        return NOTHING
    return driver.render_stop(job.ref)


def preview_delete(driver: Driver[Job, JobRef], principal: Principal, job: Job) -> Rendered:
    """Return what a delete would send, for each attempt; raises Forbidden, Conflict while the job is live."""
    access.authorise(principal, Verb.DELETE, Resource.JOB, job.project)
    if job.live:
        raise Conflict(f"Job {job.id} is {job.phase} and cannot be deleted. Stop it first: `raysvc job stop {job.id}`.")
    if not isinstance(driver, Foreseeable):
        return NOTHING
    rendered = [driver.render_delete(attempt.ref) for attempt in job.attempts]
    documents = tuple(document for each in rendered for document in each.documents)
    return Rendered(format=rendered[0].format, documents=documents) if rendered else NOTHING
