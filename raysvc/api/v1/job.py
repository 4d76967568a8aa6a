"""Jobs: submit, look, list, stop, delete, ask why.

The two routes that submit read their query and body themselves: FastAPI's own way costs a third of a submit.
"""

from collections import Counter
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Annotated, Any, cast

import structlog
from fastapi import APIRouter, Depends, Query, Request
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.responses import Response

from raysvc.api import problem
from raysvc.api.auth import principal
from raysvc.api.body import read
from raysvc.api.context import platform
from raysvc.api.invalid import FieldError, Malformed
from raysvc.api.v1 import example, hold, view
from raysvc.api.v1.caller import Calling, DryRun, JobName, Visiting, check_query, known_query, project_in
from raysvc.api.v1.document import needs, ok, problems, query, takes
from raysvc.api.v1.filter import JobFilter
from raysvc.control import metric
from raysvc.control.explain import Explanation
from raysvc.control.intake import Receipt, Submission
from raysvc.control.platform import Platform
from raysvc.control.preview import preview_delete, preview_stop
from raysvc.domain.access import Principal
from raysvc.domain.job import Attempt, Job
from raysvc.errors import Invalid, RaysvcError

log = structlog.get_logger()


class _Bare(APIRoute):
    """A route whose endpoint takes the request as it is. FastAPI only describes it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return cast("Callable[[Request], Coroutine[Any, Any, Response]]", self.endpoint)


submitting = APIRouter(tags=["jobs"], route_class=_Bare)
router = APIRouter(tags=["jobs"], dependencies=[Depends(known_query)])

_PROJECT = query(
    "project",
    {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
    "the project; by default the token's only one, else `default`",
)
_DRY_RUN = query(
    "dry_run", {"type": "boolean", "default": False}, "check and show what would be sent; keep and send nothing"
)
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "The same key with the same body gives the same job; with another body, 409.",
}
_SUBMIT_ERRORS = problems(409, 422, 429, write=True)


@submitting.post(
    "/jobs",
    summary="Submit a job",
    status_code=201,
    responses={
        **ok(view.SubmittedView, "The job is accepted and on disk.", 201, example.SUBMITTED),
        **ok(view.SubmittedView | view.PreviewView, "The job of this Idempotency-Key, or a dry run's preview."),
        **_SUBMIT_ERRORS,
    },
    openapi_extra=takes(view.Submit, example=example.SUBMIT, role="member", parameters=(_PROJECT, _DRY_RUN, _KEY)),
)
async def submit_job(request: Request) -> Response:
    """Accept a job: when this answers, it is durable. It starts when its turn has come; the reply never waits."""
    began = perf_counter()
    check_query(request)
    who, here = await principal(request), platform(request)
    body = await read(request, view.Submit)
    project = project_in(request, who)
    submission = Submission(project=project, spec=body.spec, job_id=body.id, idempotency_key=_key(request))
    if _flag(request, "dry_run"):
        preview = await here.intake.preview(who, submission)
        job = view.job_view(preview.job, preview.job.reason)
        return view.reply(
            view.PreviewView.model_construct(job=job, rendered=preview.rendered, warnings=preview.warnings)
        )
    try:
        receipt = await here.intake.submit(who, submission)
    except RaysvcError as error:
        metric.SUBMITS.labels(error.code).inc()
        raise
    metric.SUBMITS.labels("accepted").inc()
    metric.SUBMIT.observe(perf_counter() - began)
    return _accepted(receipt)


@submitting.post(
    "/jobs:batch",
    summary="Submit many jobs",
    responses={**ok(view.BatchView, "What became of each.", example=example.BATCHED), **_SUBMIT_ERRORS},
    openapi_extra=takes(view.Batch, example=example.BATCH, role="member", parameters=(_PROJECT,)),
)
async def submit_batch(request: Request) -> Response:
    """Accept or refuse each of up to 1,000 jobs, each on its own. All that are accepted are durable."""
    check_query(request)
    who, here = await principal(request), platform(request)
    body = await read(request, view.Batch)
    project = project_in(request, who)
    submissions = [
        Submission(item.project or project, item.spec, job_id=item.id, idempotency_key=item.idempotency_key)
        for item in body.jobs
    ]
    outcomes = await here.intake.submit_each(who, submissions)
    said = Counter(outcome.code if isinstance(outcome, RaysvcError) else "accepted" for outcome in outcomes)
    for code, count in said.items():
        metric.SUBMITS.labels(code).inc(count)
    request_id = request.scope.get(problem.REQUEST_ID, "")
    results = [_result(outcome, request_id) for outcome in outcomes]
    return Response(to_json({"results": results}), media_type="application/json")


@router.get(
    "/jobs",
    summary="List jobs",
    responses={**ok(view.JobPage, "A page, newest first."), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_jobs(visit: Visiting, asked: Annotated[JobFilter, Query()]) -> Response:
    """Return the jobs that fit all filters, newest first."""
    page = await visit.platform.desk.find(visit.who, asked.query())
    items = tuple([await _view(visit.platform, job) for job in page.items])
    return view.reply(view.JobPage.model_construct(items=items, next_cursor=page.next_cursor))


@router.get(
    "/jobs/{job_id}",
    summary="Get a job",
    responses={**ok(view.JobView, "The job as it is now.", example=example.JOB), **problems()},
    openapi_extra={**needs("viewer"), "parameters": hold.PARAMETERS},
)
async def get_job(request: Request, call: Calling, job_id: JobName) -> Response:
    """Return the job with its live reason, its place in the queue and its progress."""
    job = await hold.changed(request, call, job_id)
    return view.reply(await _view(call.platform, job, call.who), headers={"ETag": hold.etag(job)})


@router.post(
    "/jobs/{job_id}/stop",
    summary="Stop a job",
    responses={**ok(view.StopView, "The wish is on disk."), **problems(507)},
    openapi_extra=needs("member"),
)
async def stop_job(call: Calling, job_id: JobName, *, dry_run: DryRun = False) -> Response:
    """Ask the job to end. May be repeated; it is CANCELLED once its processes are gone."""
    job = await call.job(job_id)
    if dry_run:
        rendered = preview_stop(call.platform.backend.jobs, call.who, job)
        return view.reply(
            view.StopView.model_construct(job=await _view(call.platform, job), stopping=job.live, rendered=rendered)
        )
    job, stopping = await call.platform.desk.stop(call.who, job.project, job.id)
    return view.reply(
        view.StopView.model_construct(job=await _view(call.platform, job), stopping=stopping, rendered=None)
    )


@router.delete(
    "/jobs/{job_id}",
    summary="Delete a job",
    status_code=204,
    responses={
        204: {"description": "The job is forgotten; its id is free again."},
        **ok(view.DeleteView, "A dry run: what would be sent."),
        **problems(409, 507),
    },
    openapi_extra=needs("member"),
)
async def delete_job(call: Calling, job_id: JobName, *, dry_run: DryRun = False) -> Response:
    """Forget an ended job with its logs and artifacts. Its events stay under its uid."""
    job = await call.job(job_id)
    if dry_run:
        rendered = preview_delete(call.platform.backend.jobs, call.who, job)
        return view.reply(view.DeleteView.model_construct(job=await _view(call.platform, job), rendered=rendered))
    await call.platform.desk.delete(call.who, job.project, job.id)
    return Response(status_code=204)


@router.get(
    "/jobs/{job_id}/attempts",
    summary="List a job's attempts",
    responses={**ok(view.Items[Attempt], "Oldest first."), **problems()},
    openapi_extra=needs("viewer"),
)
async def list_attempts(call: Calling, job_id: JobName) -> Response:
    """Return each try at the job: where it ran, when, and how it ended."""
    return view.listed((await call.job(job_id)).attempts)


@router.get(
    "/jobs/{job_id}/explain",
    summary="Explain a job's phase",
    responses={**ok(Explanation, "Why it is in its phase, and what comes next."), **problems()},
    openapi_extra=needs("viewer"),
)
async def explain_job(call: Calling, job_id: JobName) -> Response:
    """Return the reason in sentences: what holds it, what happens by itself, what one can do."""
    job = await call.job(job_id)
    return view.reply(await call.platform.desk.explain(call.who, job.project, job.id))


async def _view(here: Platform, job: Job, who: Principal | None = None) -> view.JobView:
    """Return the job's view with its live reason; its progress too where `who` asks for this one job."""
    why, position = await here.desk.reason(job)
    progress = await here.outputs.progress(who, job) if who is not None else None
    return view.job_view(job, why, position, progress)


def _accepted(receipt: Receipt) -> Response:
    job = receipt.job
    structlog.contextvars.bind_contextvars(job_id=job.id)
    body = view.submitted_view(job, receipt.warnings)
    headers = {"Location": f"/v1/jobs/{job.id}?project={job.project}"}
    response = view.reply(body, 201 if receipt.created else 200, headers)
    for warning in receipt.warnings[:20]:
        text = " ".join(warning.split())[:500]
        response.headers.append("X-Raysvc-Warning", text.encode("latin-1", "replace").decode("latin-1"))
    return response


def _result(outcome: Receipt | RaysvcError, request_id: str) -> dict[str, Any]:
    """Return what a BatchResult would say: two models for each of a thousand jobs cost as much as their parsing."""
    if isinstance(outcome, RaysvcError):
        fault = problem.fault_of(outcome)
        said = problem.document(fault, request_id).model_dump(exclude_none=True)
        return {"status": fault.status, "job": None, "warnings": (), "problem": said}
    job = outcome.job
    short = {"id": job.id, "uid": job.uid, "project": job.project, "phase": job.phase}
    status = 201 if outcome.created else 200
    return {"status": status, "job": short, "warnings": outcome.warnings, "problem": None}


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable() and " " not in key):  # noqa: PLR2004 announced above
        raise Invalid(
            "Idempotency-Key must be 1 to 255 visible ASCII characters, such as a UUID.", field="Idempotency-Key"
        )
    return key


def _flag(request: Request, name: str) -> bool:
    match request.query_params.get(name, "false").lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
        case _:
            raise Malformed([FieldError(field=name, message="must be true or false")])
