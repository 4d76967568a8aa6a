"""The admission chain: authorise → policies → limits → accept. What passes is on disk before the caller hears of it."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import NamedTuple

import structlog

from raysvc.control.batch import at_once, batched, each
from raysvc.control.cluster.share import check_named
from raysvc.control.draft import Draft, Submission, take
from raysvc.control.limit import ProjectCache
from raysvc.control.signal import Signals
from raysvc.control.terrain import Surveyor
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.admission import Admission
from raysvc.domain.job import Job, submit
from raysvc.domain.model import Model
from raysvc.domain.package import packages_of
from raysvc.domain.project import Project, queue_full
from raysvc.domain.rendered import Rendered
from raysvc.domain.secret import references
from raysvc.domain.text import check_idempotency_key, check_spec
from raysvc.errors import Invalid, KeyReused, NotFound, RaysvcError
from raysvc.ports import Backend, Clock, Ids, Policy, Store, Vetting

__all__ = ["Intake", "Preview", "Receipt", "Submission"]

log = structlog.get_logger()


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


class Intake:
    """Takes submissions in."""

    def __init__(
        self, store: Store, backend: Backend, policies: Sequence[Policy], clock: Clock, ids: Ids, signals: Signals
    ) -> None:
        self._store = store
        self._backend = backend
        self._vet = backend.jobs.vet if isinstance(backend.jobs, Vetting) else self._render
        self._surveyor = Surveyor(store, backend)
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

    async def _keep(self, taken: Sequence[Draft | Receipt | Exception]) -> list[Receipt | Exception]:
        """Return what became of each, once it is on disk."""
        drafts = [one for one in taken if isinstance(one, Draft)]
        kept: Iterator[tuple[Job, bool] | Exception]
        try:
            kept = iter(await self._store.jobs.add_each([draft.addition() for draft in drafts]))
        except RaysvcError as error:
            kept = repeat(error)
        self._signals.notify(Signals.RECONCILER)
        if any(draft.job.spec.cluster for draft in drafts):
            self._signals.notify(Signals.CLUSTERS)
        return [_receipt(one, next(kept)) if isinstance(one, Draft) else one for one in taken]

    async def _take_in(
        self, principal: Principal, submissions: Sequence[Submission]
    ) -> list[Draft | Receipt | Exception]:
        """Return each as it is to be kept, the receipt of the job that its idempotency key made before, or an error."""
        known = await self._known(principal, submissions)
        unknown = [submission for submission, before in zip(submissions, known, strict=True) if before is None]
        reviewed = iter(await self._review(principal, unknown))
        return [next(reviewed) if before is None else before for before in known]

    async def _known(self, principal: Principal, submissions: Sequence[Submission]) -> list[Receipt | Exception | None]:
        """Return for each the receipt of the job that its idempotency key made before, why it is refused, or None."""
        projects = list({one.project for one in submissions})
        refusals = at_once(partial(access.authorise, principal, Verb.SUBMIT, Resource.JOB), projects)
        refusal = dict(zip(projects, refusals, strict=True))
        known: list[Receipt | Exception | None] = [refusal[one.project] for one in submissions]
        keyed = [i for i, one in enumerate(submissions) if known[i] is None and one.idempotency_key is not None]
        for i, before in zip(keyed, await each(self._before, [submissions[i] for i in keyed]), strict=True):
            known[i] = before
        return known

    async def _before(self, submission: Submission) -> Receipt | None:
        key = submission.idempotency_key or ""
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
        foreseen, more = await self._surveyor.foresee(draft.job, self._clock.now())
        return Preview(job=draft.job, rendered=self._render(foreseen), warnings=(*draft.warnings, *more))

    async def _review(self, principal: Principal, submissions: Sequence[Submission]) -> list[Draft | Exception]:
        """Return each as the checks left it, or why it is refused.

        All of them take one step before any takes the next. One after the other through all steps takes a third longer:
        a step's code and data then leave the processor's caches before they are needed again.
        """
        names = list({one.project for one in submissions})
        projects = dict(zip(names, await each(self._projects.get, names), strict=True))
        taken = at_once(partial(self._draft, principal, projects), submissions)
        judged = iter(await each(self._judge, [one for one in taken if isinstance(one, Draft)]))
        return [next(judged) if isinstance(one, Draft) else one for one in taken]

    def _draft(
        self, principal: Principal, projects: Mapping[str, Project | Exception], submission: Submission
    ) -> Draft:
        project = projects[submission.project]
        if isinstance(project, Exception):
            raise project
        check_spec(submission.spec)
        now = self._clock.now()
        job, event = submit(
            submission.spec,
            job_id=submission.job_id or self._ids.job_id(),
            uid=self._ids.uid(now),
            project=project.name,
            owner=principal.name,
            now=now,
        )
        return Draft(submission, principal, project, job, [event])

    async def _judge(self, draft: Draft) -> Draft:
        """See that its secrets are there, that policies let it pass, and that it can be sent as they left it."""
        await self._check_secrets(draft.submission)
        for policy in self._policies:
            job = draft.job
            admission = Admission(
                project=job.project, owner=job.owner, role=draft.principal.role, job_id=job.id, spec=job.spec
            )
            for verdict in await policy.review(admission):
                take(policy.name, verdict, draft)
        if (cluster := draft.job.spec.cluster) is not None:
            await check_named(self._store, self._backend, draft.project.name, cluster)
        if draft.job.spec.shape.workers:
            draft.warnings += await self._surveyor.heed(draft.job.spec)
        draft.packages = packages_of(draft.job.spec)
        self._vet(draft.job)
        return draft

    def _render(self, job: Job) -> Rendered:
        """Return what would be sent for its first attempt; raises Invalid where the backend could not take it."""
        return self._backend.jobs.render(job.model_copy(update={"attempt": 1}))

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


def _receipt(draft: Draft, kept: tuple[Job, bool] | Exception) -> Receipt | Exception:
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
