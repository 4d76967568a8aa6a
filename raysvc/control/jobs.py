"""What people do with jobs that are there: look, stop, delete, ask why."""

from collections.abc import Sequence

from raysvc.control.explain import Explanation, explain
from raysvc.control.queue import Queue
from raysvc.control.signal import Signals
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import JobQuery, Page
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.errors import Conflict, StaleVersion
from raysvc.ports import Clock, Store


class JobDesk:
    """Each verb checks the principal first. Writes are compare-and-set, and tried again where the loop was first."""

    def __init__(self, store: Store, queue: Queue, clock: Clock, signals: Signals) -> None:
        self._store = store
        self._queue = queue
        self._clock = clock
        self._signals = signals

    async def get(self, principal: Principal, project: str, job_id: str) -> Job:
        """Return the job; raises NotFound, also for a project the principal cannot see."""
        access.authorise(principal, Verb.READ, Resource.JOB, project)
        return await self._store.jobs.get(project, job_id)

    async def find(self, principal: Principal, query: JobQuery) -> Page[Job]:
        """Return a page of the jobs the principal can see; raises NotFound for a project it names and cannot."""
        for project in query.projects or ():
            access.authorise(principal, Verb.READ, Resource.JOB, project)
        if query.projects is None and principal.projects:
            query = query.model_copy(update={"projects": principal.projects})
        return await self._store.jobs.find(query)

    async def events(self, principal: Principal, job: Job, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Return the job's events with seq > after, oldest first."""
        access.authorise(principal, Verb.READ, Resource.JOB, job.project)
        return await self._store.jobs.events(job.uid, after=after, limit=limit)

    async def stop(self, principal: Principal, project: str, job_id: str) -> tuple[Job, bool]:
        """Wish the job to end; return (job, whether it was live). Durable on return; may be repeated."""
        access.authorise(principal, Verb.STOP, Resource.JOB, project)
        while True:
            job = await self._store.jobs.get(project, job_id)
            if not job.live:
                return job, False
            if job.stop_requested:
                return job, True
            after, event = job.change(
                EventKind.STOP_REQUESTED,
                self._clock.now(),
                actor=principal.name,
                message=f"stop asked for by {principal.name}",
                stop_requested=True,
                due_at=self._clock.now(),
            )
            if await self._save(after, event):
                return after, True

    async def delete(self, principal: Principal, project: str, job_id: str) -> None:
        """Forget an ended job: its id is free again, its logs and artifacts go. Raises Conflict while it is live."""
        access.authorise(principal, Verb.DELETE, Resource.JOB, project)
        while True:
            job = await self._store.jobs.get(project, job_id)
            if job.live:
                raise Conflict(
                    f"Job {job_id} is {job.phase} and cannot be deleted. Stop it first: `raysvc job stop {job_id}`."
                )
            after, event = job.change(
                EventKind.DELETED,
                self._clock.now(),
                actor=principal.name,
                message=f"deleted by {principal.name}",
                deleted=True,
                due_at=self._clock.now(),
            )
            if await self._save(after, event):
                return

    async def reason(self, job: Job) -> tuple[Reason, int | None]:
        """Return why the job is where it is, by what is known now, and its place in the queue (from 1)."""
        if job.phase is not JobPhase.QUEUED:
            return job.reason, None
        if job.stop_requested:
            return reason(ReasonCode.STOP_REQUESTED), None
        placement = (await self._queue.board()).get(job.uid)
        if placement is None or placement.admitted:
            return job.reason, placement.position if placement else None
        return placement.reason, placement.position

    async def explain(self, principal: Principal, project: str, job_id: str) -> Explanation:
        """Return why the job is in its phase and what happens next."""
        job = await self.get(principal, project, job_id)
        why, position = await self.reason(job)
        verdict = (await self._queue.board()).get(job.uid) if job.phase is JobPhase.QUEUED else None
        refusal = verdict.refusal if verdict and verdict.reason == why else None
        return explain(job, why, position, self._clock.now(), refusal)

    async def _save(self, job: Job, event: Event) -> bool:
        try:
            await self._store.jobs.save(job, [event])
        except StaleVersion:
            return False  # the reconciler moved it meanwhile: decide anew on what it is now
        self._signals.notify(job.uid)
        self._signals.notify(Signals.RECONCILER)
        return True
