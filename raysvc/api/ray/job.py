"""Submit, look, list, stop, delete."""

from collections.abc import Iterable
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from structlog.contextvars import bind_contextvars

from raysvc.api.body import parse
from raysvc.api.cluster.upstream import Upstream
from raysvc.api.plain import reply
from raysvc.api.ray.caller import caller
from raysvc.api.ray.detail import details, status
from raysvc.api.ray.find import find_job
from raysvc.control import metric
from raysvc.control.intake import Submission
from raysvc.control.platform import Platform
from raysvc.domain.access import Principal
from raysvc.domain.job import Job
from raysvc.domain.metadata import MAX_KEY_LENGTH, RaySubmission, from_ray
from raysvc.domain.query import JobQuery
from raysvc.errors import AlreadyExists, Conflict, Invalid, RaysvcError

# Ray's list has no pages; one that grew for ever would one day be too slow for its clients (which have no timeouts).
MAX_LISTED = 1000
# A header is for a glance; the whole text is in the job's events.
MAX_WARNING_LENGTH = 500
MAX_WARNINGS = 20


class IdTaken(AlreadyExists):
    """Status and phrase are those that KubeRay's operator looks for, to take the job as submitted."""

    status = 500


class JobRoutes:
    """Ray's /api/jobs over the desk and the intake."""

    def __init__(self, platform: Platform, upstream: Upstream) -> None:
        self._platform = platform
        self._upstream = upstream

    async def submit(self, request: Request) -> Response:
        """Take a job in. The reply waits for the disk, never for a cluster."""
        began = perf_counter()
        try:
            response = await self._submit(request)
        except RaysvcError as error:
            metric.SUBMITS.labels(error.code).inc()
            raise
        metric.SUBMITS.labels("accepted").inc()
        metric.SUBMIT.observe(perf_counter() - began)
        return response

    async def _submit(self, request: Request) -> Response:
        who, project = await caller(request)
        asked = from_ray(parse(await request.body()))
        submission = Submission(project, asked.spec, asked.submission_id, _idempotency_key(request, asked))
        try:
            receipt = await self._platform.intake.submit(who, submission)
        except AlreadyExists as error:
            raise IdTaken(
                f"Job with submission_id {asked.submission_id} already exists. Please use a different submission_id."
            ) from error
        job_id = receipt.job.id
        bind_contextvars(job_id=job_id)
        response = reply({"job_id": job_id, "submission_id": job_id})
        _warn(response, receipt.warnings)
        return response

    async def get(self, request: Request) -> Response:
        _, job = await self._find(request)
        return reply(await self._details(job))

    async def list(self, request: Request) -> Response:
        """List the newest jobs; headers say whether there are more."""
        who, project = await caller(request)
        page = await self._platform.desk.find(who, JobQuery(projects=(project,), limit=MAX_LISTED))
        response = reply([await self._details(job) for job in page.items])
        response.headers["X-Raysvc-List-Limit"] = str(MAX_LISTED)
        if page.next_cursor is not None:
            response.headers["X-Raysvc-List-Truncated"] = "true"
        return response

    async def stop(self, request: Request) -> Response:
        who, job = await self._find(request)
        _, stopped = await self._platform.desk.stop(who, job.project, job.id)
        return reply({"stopped": stopped})

    async def delete(self, request: Request) -> Response:
        who, job = await self._find(request)
        try:
            await self._platform.desk.delete(who, job.project, job.id)
        except Conflict:
            text = f"Attempted to delete job '{job.id}', but it is in a non-terminal state {status(job)}."
            return PlainTextResponse(text, status_code=500)
        return reply({"deleted": True})

    async def _find(self, request: Request) -> tuple[Principal, Job]:
        who = await caller(request)
        return who.principal, await find_job(self._platform, self._upstream, who, request.path_params["job_id"])

    async def _details(self, job: Job) -> dict[str, Any]:
        try:
            why, position = await self._platform.desk.reason(job)
        except RaysvcError:
            why, position = job.reason, None  # a cluster that cannot be asked takes nothing from what is on record
        return details(job, why, position)


def _idempotency_key(request: Request, asked: RaySubmission) -> str | None:
    header = request.headers.get("idempotency-key")
    if header is None or header == asked.idempotency_key:
        return asked.idempotency_key
    if asked.idempotency_key is not None:
        raise Invalid("The header Idempotency-Key and the metadata raysvc.idempotency_key differ. Send one of them.")
    if not 0 < len(header) <= MAX_KEY_LENGTH or not header.isprintable():
        raise Invalid(f"The header Idempotency-Key must be 1 to {MAX_KEY_LENGTH} printable characters.")
    return header


def _warn(response: Response, warnings: Iterable[str]) -> None:
    """Put what policies warned of into headers, one each."""
    for text in list(warnings)[:MAX_WARNINGS]:
        line = " ".join(text.split())[:MAX_WARNING_LENGTH]
        response.headers.append("X-Raysvc-Warning", line.encode("latin-1", "replace").decode("latin-1"))
