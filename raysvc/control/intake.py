"""The admission chain: authorise → policies → limits → accept. What passes is on disk before the caller hears of it."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from typing import Any

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
from raysvc.domain.rendered import Rendered
from raysvc.domain.secret import references
from raysvc.domain.text import check_idempotency_key, check_spec
from raysvc.errors import Denied, Invalid, KeyReused, NotFound, OverLimit, RaysvcError
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


@dataclass(frozen=True)
class Receipt:
    """The accepted job. `created` is False where an idempotency key named one that was there."""

    job: Job
    created: bool
    warnings: tuple[str, ...] = ()


class Preview(Model):
    """What a submission would become, and what would be sent; nothing was kept."""

    job: Job
    rendered: Rendered
    warnings: tuple[str, ...] = ()


@dataclass
class _Reviewed:
    job: Job
    events: list[Event]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Passed:
    """A submission that passed, as it is to be kept."""

    addition: Addition
    warnings: tuple[str, ...]


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
        taken = await self._take_in(principal, submission)
        if isinstance(taken, Receipt):
            return taken
        new = taken.addition
        if new.key is None:
            job, created = await self._store.jobs.add(new.job, new.events, packages=new.packages), True
        else:
            job, created = await self._store.jobs.add_once(
                new.job, new.events, key=new.key, body_digest=new.body_digest, packages=new.packages
            )
        self._signals.notify(Signals.RECONCILER)
        return Receipt(job, created, taken.warnings)

    async def submit_each(self, principal: Principal, submissions: Sequence[Submission]) -> list[Receipt | RaysvcError]:
        """Like `submit` for many, each accepted or refused on its own: return what became of each, in order.

        Some are on their way to the disk while the next are reviewed.
        """
        async with asyncio.TaskGroup() as group:
            landing = []
            for some in batched(submissions):
                taken = await each(lambda submission: self._take_in(principal, submission), some)
                landing.append(group.create_task(self._keep(taken)))
        return [outcome for task in landing for outcome in task.result()]

    async def _keep(self, taken: Sequence[_Passed | Receipt | Exception]) -> list[Receipt | RaysvcError]:
        kept: Iterator[tuple[Job, bool] | Exception]
        try:
            kept = iter(await self._store.jobs.add_each([one.addition for one in taken if isinstance(one, _Passed)]))
        except RaysvcError as error:
            kept = repeat(error)
        self._signals.notify(Signals.RECONCILER)
        return [_told(_receipt(one, next(kept)) if isinstance(one, _Passed) else one) for one in taken]

    async def _take_in(self, principal: Principal, submission: Submission) -> _Passed | Receipt:
        """Return the submission as it is to be kept, or the receipt of the job that its idempotency key made before."""
        access.authorise(principal, Verb.SUBMIT, Resource.JOB, submission.project)
        key, digest = submission.idempotency_key, ""
        if key is not None:
            check_idempotency_key(key)
            digest = submission.digest()
            known = await self._store.jobs.by_key(submission.project, key)
            if known is not None:
                return _replay(known, key, digest)
        reviewed = await self._review(principal, submission)
        job = reviewed.job
        return _Passed(Addition(job, reviewed.events, packages_of(job.spec), key, digest), tuple(reviewed.warnings))

    async def preview(self, principal: Principal, submission: Submission) -> Preview:
        """Return what `submit` would do, by the same checks, and keep nothing.

        A package that is not there yet is a warning here: a client uploads it only when it means the submit.
        """
        access.authorise(principal, Verb.SUBMIT, Resource.JOB, submission.project)
        reviewed = await self._review(principal, submission)
        for name in packages_of(reviewed.job.spec):
            try:
                await self._store.packages.get(submission.project, name)
            except NotFound:
                reviewed.warnings.append(f"package {name} is not on the server yet; a real submit uploads it first")
        first = reviewed.job.model_copy(update={"attempt": 1})
        return Preview(job=reviewed.job, rendered=self._backend.jobs.render(first), warnings=tuple(reviewed.warnings))

    async def _review(self, principal: Principal, submission: Submission) -> _Reviewed:
        project = await self._projects.get(submission.project)
        check_spec(submission.spec)
        await self._check_secrets(submission)
        if project.limits.max_queued_jobs is not None:
            queued = await self._store.jobs.count_queued(project.name, project.limits.max_queued_jobs)
            if queued >= project.limits.max_queued_jobs:
                raise OverLimit(
                    f"Project {project.name} has {queued} jobs queued, and its max_queued_jobs is "
                    f"{project.limits.max_queued_jobs}. Wait for some to start, or ask an admin to raise the limit.",
                    rule="max_queued_jobs",
                )
        now = self._clock.now()
        job, event = submit(
            submission.spec,
            job_id=submission.job_id or self._ids.job_id(),
            uid=self._ids.uid(now),
            project=project.name,
            owner=principal.name,
            now=now,
        )
        reviewed = _Reviewed(job, [event])
        for policy in self._policies:
            await self._apply_policy(policy, principal, reviewed, now)
        self._backend.jobs.render(reviewed.job.model_copy(update={"attempt": 1}))
        return reviewed

    async def _apply_policy(self, policy: Policy, principal: Principal, reviewed: _Reviewed, now: datetime) -> None:
        job = reviewed.job
        admission = Admission(project=job.project, owner=job.owner, role=principal.role, job_id=job.id, spec=job.spec)
        for verdict in await policy.review(admission):
            self._take(policy.name, verdict, reviewed, now)

    def _take(self, policy: str, verdict: Verdict, reviewed: _Reviewed, now: datetime) -> None:
        match verdict:
            case Deny(rule=rule, message=message):
                raise Denied(f"Policy {policy}, rule {rule}: {message}", rule=f"{policy}/{rule}")
            case Warn(rule=rule, message=message):
                text = f"policy {policy}, rule {rule}: {message}"
                reviewed.warnings.append(text)
                change = reviewed.job.change(EventKind.WARNED, now, actor=f"policy/{policy}", message=text)
            case Amend(rule=rule, message=message, changes=changes):
                spec = _amended(reviewed.job.spec, changes, policy, rule)
                text = f"policy {policy}, rule {rule}: {message}"
                change = reviewed.job.change(EventKind.AMENDED, now, actor=f"policy/{policy}", message=text, spec=spec)
            case _:
                return
        reviewed.job = change[0]
        reviewed.events.append(change[1])

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


def _amended(spec: JobSpec, changes: Mapping[str, Any], policy: str, rule: str) -> JobSpec:
    """Return the changed spec, held to what a user's is held to; raises Invalid in the name of the rule."""
    try:
        after = amend(spec, changes)
        check_spec(after)
    except Invalid as error:
        told = f"Policy {policy}, rule {rule}: {error.message}"
        raise Invalid(told, field=error.field, rule=f"{policy}/{rule}") from error
    return after


def _receipt(passed: _Passed, kept: tuple[Job, bool] | Exception) -> Receipt | Exception:
    return kept if isinstance(kept, Exception) else Receipt(*kept, passed.warnings)


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
