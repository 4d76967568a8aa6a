"""The wire forms of /v1 that no type of the domain has: a job as clients read it, and the envelopes."""

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field
from starlette.responses import Response

from raysvc.control.progress import Progress
from raysvc.domain.job import Attempt, Job, JobPhase, JobSpec
from raysvc.domain.model import Instant, JobId, Model, Name, Uid
from raysvc.domain.project import Limits, Role, Token
from raysvc.domain.reason import Reason
from raysvc.domain.rendered import Rendered

T = TypeVar("T")


class JobView(Model):
    """A job. `reason` says why it is in its phase, by what is known now; `position` is its place in the queue."""

    id: JobId
    uid: Uid
    project: Name
    name: str
    phase: JobPhase
    reason: Reason
    attempt: int = Field(description="number of the current or last attempt; 0 before the first")
    attempts: tuple[Attempt, ...]
    spec: JobSpec
    owner: str
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    cluster: str | None
    stop_requested: bool
    position: int | None = Field(description="place in the queue, from 1; null where it does not wait")
    progress: Progress | None = Field(description="what the job reports of itself; only where one job is asked for")


class SubmittedView(JobView):
    """The accepted job, and what policies warn of."""

    warnings: tuple[str, ...]


class Items(BaseModel, Generic[T]):
    """A whole list."""

    items: tuple[T, ...]


class JobPage(BaseModel):
    """A page of jobs, newest first. Ask again with `cursor=<next_cursor>`; null on the last page.

    A page has at most 16 MiB of jobs, and looks at so many at most: it may be short, or empty, and yet not be the last.
    """

    items: tuple[JobView, ...]
    next_cursor: str | None


class PreviewView(BaseModel):
    """What a submission would become, and what would be sent to the cluster. Nothing was kept."""

    job: JobView
    rendered: Rendered
    warnings: tuple[str, ...]


class StopView(BaseModel):
    """`stopping` is false where the job had ended. `rendered` is there in a dry run: what would be sent now."""

    job: JobView
    stopping: bool
    rendered: Rendered | None = None


class DeleteView(BaseModel):
    """What a delete would do to the cluster."""

    job: JobView
    rendered: Rendered


class Submit(Model):
    """A submission. Without `id` one is made as Ray makes them."""

    spec: JobSpec
    id: JobId | None = None


class BatchItem(Submit):
    """One of many submissions; `project` where it is not that of the request."""

    project: Name | None = None
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=255)


class Batch(Model):
    """Many submissions. Each is accepted or refused on its own."""

    jobs: tuple[BatchItem, ...] = Field(min_length=1, max_length=1000)


class BatchJob(BaseModel):
    """An accepted job, in short."""

    id: JobId
    uid: Uid
    project: Name
    phase: JobPhase


class BatchResult(BaseModel):
    """What became of one submission: `job` where it was accepted (201, or 200 for a repeated key), else `problem`."""

    status: int
    job: BatchJob | None = None
    warnings: tuple[str, ...] = ()
    problem: dict[str, Any] | None = None


class BatchView(BaseModel):
    """One result a submission, in their order."""

    results: tuple[BatchResult, ...]


class NewProject(Model):
    """A project to make."""

    name: Name
    limits: Limits = Limits()


class NewToken(Model):
    """A token to make. No `projects`: every project, which only the platform's admin may give."""

    role: Role
    owner: str = Field(min_length=1, max_length=128, description="who acts with it")
    projects: tuple[Name, ...] = Field(default=(), max_length=100)
    expires_at: Instant | None = None


class IssuedToken(BaseModel):
    """A new token. `secret` is shown this once; null in a dry run."""

    token: Token
    secret: str | None


class SecretValue(Model):
    """A secret's value. It is encrypted at rest and never comes back."""

    value: str = Field(min_length=1, max_length=65536)


class Pause(Model):
    """Why nothing starts: every waiting job says it."""

    message: str = Field(default="", max_length=1000)


class PolicyView(BaseModel):
    """A policy that reviews each submission."""

    name: str


class VersionView(BaseModel):
    """What runs here."""

    version: str
    api: str = "v1"


class WhoView(BaseModel):
    """Who the token says you are. No `projects`: every project."""

    name: str
    role: Role
    projects: tuple[Name, ...]
    token_id: str


def job_view(job: Job, why: Reason, position: int | None = None, progress: Progress | None = None) -> JobView:
    """Return the job as clients read it. Nothing is validated again: it is ours."""
    return JobView.model_construct(**_fields(job, why, position, progress))


def submitted_view(job: Job, warnings: tuple[str, ...]) -> SubmittedView:
    """Return the reply to a submission; the live reason is not looked up, so that the reply does not wait for it."""
    return SubmittedView.model_construct(**_fields(job, job.reason, None, None), warnings=warnings)


def _fields(job: Job, why: Reason, position: int | None, progress: Progress | None) -> dict[str, Any]:
    return {
        "id": job.id,
        "uid": job.uid,
        "project": job.project,
        "name": job.name,
        "phase": job.phase,
        "reason": why,
        "attempt": job.attempt,
        "attempts": job.attempts,
        "spec": job.spec,
        "owner": job.owner,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "cluster": job.cluster,
        "stop_requested": job.stop_requested,
        "position": position,
        "progress": progress,
    }


def reply(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return the model as JSON."""
    return Response(model.model_dump_json(), status, headers, media_type="application/json")


def listed(items: Any) -> Response:
    """Return models of the domain as `{"items": […]}`."""
    return reply(Items[Any].model_construct(items=tuple(items)))
