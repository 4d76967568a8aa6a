"""From the id in a URL to the job: a submission id of ours, or the id that its driver has on the cluster."""

import json
import re

from raysvc.api.cluster.upstream import Upstream, endpoint_of
from raysvc.api.ray.caller import Caller
from raysvc.control.platform import Platform
from raysvc.domain.access import Resource, Verb, authorise
from raysvc.domain.job import Job, JobRef
from raysvc.errors import NotFound, RaysvcError

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# Ray numbers the drivers of a cluster with four bytes in hexadecimal.
_DRIVER_ID = re.compile(r"[0-9a-f]{8}")
# The cluster is asked only to be kind: a slow one must not make "does not exist" slow.
DRIVER_TIMEOUT_S = 2.0


async def find_job(platform: Platform, upstream: Upstream, caller: Caller, job_id: str) -> Job:
    """Return the job; raises NotFound with Ray's phrase, also for an id that no job could have."""
    authorise(caller.principal, Verb.READ, Resource.JOB, caller.project)
    missing = NotFound(f"Job {job_id[:200]} does not exist")
    if not _ID.fullmatch(job_id):
        raise missing
    try:
        return await platform.desk.get(caller.principal, caller.project, job_id)
    except NotFound as error:
        if not _DRIVER_ID.fullmatch(job_id):
            raise missing from error
    job = await _by_driver(platform, upstream, job_id)
    if job is None or job.project != caller.project or job.deleted:
        raise missing
    return job


async def _by_driver(platform: Platform, upstream: Upstream, driver_id: str) -> Job | None:
    try:
        endpoint = await endpoint_of(platform, platform.parts.cluster)
        status, body = await upstream.read(endpoint, f"/api/jobs/{driver_id}", timeout_s=DRIVER_TIMEOUT_S)
        ref = JobRef.parse(str(json.loads(body).get("submission_id"))) if status == 200 else None  # noqa: PLR2004
        return await platform.store.jobs.get_by_uid(ref.uid) if ref else None
    except (RaysvcError, ValueError, AttributeError):
        return None
