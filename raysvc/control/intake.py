"""The admission chain: authorise → policies → limits → accept. What passes is on disk before the caller hears of it."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import structlog

from raysvc.control.batch import batched, each
from raysvc.control.limit import ProjectCache
from raysvc.control.signal import Signals
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.admission import Admission, Amend, Deny, Verdict, Warn, amend
from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import Job, JobSpec, submit
from raysvc.domain.model import Model
from raysvc.domain.package import packages_of
from raysvc.domain.project import Project, queue_full
from raysvc.domain.rendered import Rendered
from raysvc.domain.secret import references
from raysvc.domain.text import check_idempotency_key, check_spec
from raysvc.errors import Denied, Invalid, KeyReused, NotFound, RaysvcError
from raysvc.ports import Addition, Backend, Clock, Ids, Policy, Store

log = structlog.get_logger()


@dataclass(frozen=True)
class Submission:
    """What a client asks for. `spec` is as it was sent: the idempotency key's digest covers it."""

    project: str
    spec: JobSpec
    job_id: str | None = None
    idempotency_key: str | None = None

    def digest(self) -> str:
        """Return the SHA-256 of what the client sent, equal for equal requests."""
        body = {"id": self.job_id, "spec": self.spec.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class Receipt(NamedTuple):
    """The accepted job. `created` is False where an idempotency key named one that was there."""

    job: Job
    created: bool
    warnings: tuple[str, ...] = ()


class Preview(Model):
    """What a submission would become, and what would be sent; nothing was kept."""

    job: Job
    rendered: Rendered
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    """A job on its way in, as the checks so far left it."""

    submission: Submission
    principal: Principal
    project: Project
    job: Job
    events: list[Event]
    packages: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def addition(self) -> Addition:
        """Return the job as it is to be kept."""
        key = self.submission.idempotency_key
        return Addition(
            self.job,
            self.events,
            self.packages,
            key,
            "" if key is None else self.submission.digest(),
            self.project.limits.max_queued_jobs,
        )


class Intake:
    """Takes submissions in."""

    def __init__(
        self, store: Store, backend: Backend, policies: Sequence[Policy], clock: Clock, ids: Ids, signals: Signals
    ) -> None:
        self._store = store
        self._backend = backend
        self._policies = policies
        self._clock = clock
        self._ids = ids
        self._signals = signals
        self._projects = ProjectCache(store.projects, clock)

    async def submit(self, principal: Principal, submission: Submission) -> Receipt:
        """Accept the submission; when this returns it is durable.

        May be repeated under an idempotency key. Raises Forbidden, NotFound (project, package, secret), Denied (a
        policy), OverLimit, AlreadyExists (the id), KeyReused.
        """
        (outcome,) = await self._keep(await self._take_in(principal, [submission]))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def submit_each(self, principal: Principal, submissions: Sequence[Submission]) -> list[Receipt | RaysvcError]:
        """Like `submit` for many, each accepted or refused on its own: return what became of each, in order.

        Some are on their way to the disk while the next are reviewed.
        """
        async with asyncio.TaskGroup() as group:
            landing = []
            for some in batched(submissions):
                taken = await self._take_in(principal, some)
                landing.append(group.create_task(self._keep(taken)))
        return [_told(outcome) for task in landing for outcome in task.result()]

    async def _keep(self, taken: Sequence[_Draft | Receipt | Exception]) -> list[Receipt | Exception]:
        """Return what became of each, once it is on disk."""
        drafts = [one for one in taken if isinstance(one, _Draft)]
        kept: Iterator[tuple[Job, bool] | Exception]
        try:
            kept = iter(await self._store.jobs.add_each([draft.addition() for draft in drafts]))
        except RaysvcError as error:
            kept = repeat(error)
        self._signals.notify(Signals.RECONCILER)
        return [_receipt(one, next(kept)) if isinstance(one, _Draft) else one for one in taken]

    async def _take_in(
        self, principal: Principal, submissions: Sequence[Submission]
    ) -> list[_Draft | Receipt | Exception]:
        """Return each as it is to be kept, the receipt of the job that its idempotency key made before, or an error."""
        known = await each(partial(self._known, principal), submissions)
        unknown = [submission for submission, before in zip(submissions, known, strict=True) if before is None]
        reviewed = iter(await self._review(principal, unknown))
        return [next(reviewed) if before is None else before for before in known]

    async def _known(self, principal: Principal, submission: Submission) -> Receipt | None:
        """Return the receipt of the job that the submission's idempotency key made before; raises what it may not."""
        access.authorise(principal, Verb.SUBMIT, Resource.JOB, submission.project)
        key = submission.idempotency_key
        if key is None:
            return None
        check_idempotency_key(key)
        known = await self._store.jobs.by_key(submission.project, key)
        return None if known is None else _replay(known, key, submission.digest())

    async def preview(self, principal: Principal, submission: Submission) -> Preview:
        """Return what `submit` would do, by the same checks, and keep nothing.

        A package that is not there yet is a warning here: a client uploads it only when it means the submit.
        """
        access.authorise(principal, Verb.SUBMIT, Resource.JOB, submission.project)
        (draft,) = await self._review(principal, [submission])
        if isinstance(draft, Exception):
            raise draft
        limit = draft.project.limits.max_queued_jobs
        if limit is not None and await self._store.jobs.count_queued(submission.project, limit) >= limit:
            raise queue_full(submission.project, limit)
        for name in draft.packages:
            try:
                await self._store.packages.get(submission.project, name)
            except NotFound:
                draft.warnings.append(f"package {name} is not on the server yet; a real submit uploads it first")
        first = draft.job.model_copy(update={"attempt": 1})
        return Preview(job=draft.job, rendered=self._backend.jobs.render(first), warnings=tuple(draft.warnings))

    async def _review(self, principal: Principal, submissions: Sequence[Submission]) -> list[_Draft | Exception]:
        """Return each as the checks left it, or why it is refused.

        All of them take one step before any takes the next. One after the other through all steps takes a third longer:
        a step's code and data then leave the processor's caches before they are needed again.
        """
        taken = await each(partial(self._draft, principal), submissions)
        for step in (self._ask_policies, self._render):
            drafts = iter(await each(step, [one for one in taken if isinstance(one, _Draft)]))
            taken = [next(drafts) if isinstance(one, _Draft) else one for one in taken]
        return taken

    async def _draft(self, principal: Principal, submission: Submission) -> _Draft:
        project = await self._projects.get(submission.project)
        check_spec(submission.spec)
        await self._check_secrets(submission)
        now = self._clock.now()
        job, event = submit(
            submission.spec,
            job_id=submission.job_id or self._ids.job_id(),
            uid=self._ids.uid(now),
            project=project.name,
            owner=principal.name,
            now=now,
        )
        return _Draft(submission, principal, project, job, [event])

    async def _ask_policies(self, draft: _Draft) -> _Draft:
        for policy in self._policies:
            job = draft.job
            admission = Admission(
                project=job.project, owner=job.owner, role=draft.principal.role, job_id=job.id, spec=job.spec
            )
            for verdict in await policy.review(admission):
                _take(policy.name, verdict, draft)
        return draft

    async def _render(self, draft: _Draft) -> _Draft:
        """See that the job can be sent as the policies left it, and which packages it will need then."""
        draft.packages = packages_of(draft.job.spec)
        self._backend.jobs.render(draft.job.model_copy(update={"attempt": 1}))
        return draft

    async def _check_secrets(self, submission: Submission) -> None:
        for name in references(submission.spec):
            try:
                await self._store.secrets.get(submission.project, name)
            except NotFound as error:
                raise Invalid(
                    f"The job names secret {name!r}, which project {submission.project} does not have. "
                    f"Set it with `raysvc secret set {name} --project {submission.project}`.",
                    field="secrets",
                ) from error


def _take(policy: str, verdict: Verdict, draft: _Draft) -> None:
    """Put a verdict into effect; raises Denied."""
    job, now = draft.job, draft.job.created_at
    match verdict:
        case Deny(rule=rule, message=message):
            raise Denied(f"Policy {policy}, rule {rule}: {message}", rule=f"{policy}/{rule}")
        case Warn(rule=rule, message=message):
            text = f"policy {policy}, rule {rule}: {message}"
            draft.warnings.append(text)
            change = job.change(EventKind.WARNED, now, actor=f"policy/{policy}", message=text)
        case Amend(rule=rule, message=message, changes=changes):
            spec = _amended(job.spec, changes, policy, rule)
            text = f"policy {policy}, rule {rule}: {message}"
            change = job.change(EventKind.AMENDED, now, actor=f"policy/{policy}", message=text, spec=spec)
        case _:
            return
    draft.job = change[0]
    draft.events.append(change[1])


def _amended(spec: JobSpec, changes: Mapping[str, Any], policy: str, rule: str) -> JobSpec:
    """Return the changed spec, held to what a user's is held to; raises Invalid in the name of the rule."""
    try:
        after = amend(spec, changes)
        check_spec(after)
    except Invalid as error:
        told = f"Policy {policy}, rule {rule}: {error.message}"
        raise Invalid(told, field=error.field, rule=f"{policy}/{rule}") from error
    return after


def _receipt(draft: _Draft, kept: tuple[Job, bool] | Exception) -> Receipt | Exception:
    return kept if isinstance(kept, Exception) else Receipt(*kept, tuple(draft.warnings))


def _told(outcome: Receipt | Exception) -> Receipt | RaysvcError:
    if isinstance(outcome, Receipt | RaysvcError):
        return outcome
    # One that nobody foresaw is told of as such, while the others of the batch stay accepted.
    log.error("submission failed", exc_info=outcome)
    return RaysvcError("The submission failed inside the server.")


def _replay(known: tuple[Job, str], key: str, digest: str) -> Receipt:
    job, first_digest = known
    if first_digest != digest:
        raise KeyReused(
            f"Idempotency-Key {key!r} was used for job {job.id} with a different body. Use a new key for a new job."
        )
    return Receipt(job, created=False)
