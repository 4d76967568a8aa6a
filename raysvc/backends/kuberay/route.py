"""Both kinds of jobs on Kubernetes behind one driver: those with a cluster of their own, and those that share one."""

from collections.abc import AsyncIterator

from raysvc.backends.kuberay.guests import GuestJobs
from raysvc.backends.kuberay.jobs import KubeJobs
from raysvc.domain.job import Job, JobRef
from raysvc.domain.observation import Observation
from raysvc.domain.rendered import Rendered


class RoutedJobs:
    """Goes by what the job's spec names before it has an attempt, and by the attempt's Ref after."""

    def __init__(self, own: KubeJobs, guests: GuestJobs) -> None:
        self.own = own
        self._guests = guests

    def vet(self, record: Job) -> None:
        if record.spec.cluster is None:
            self.own.render(record.model_copy(update={"attempt": record.attempt or 1}))
        else:
            self._guests.vet(record)

    def render(self, record: Job) -> Rendered:
        return self._of(record).render(record)

    def render_stop(self, ref: JobRef) -> Rendered:
        return self._at(ref).render_stop(ref)

    def render_delete(self, ref: JobRef) -> Rendered:
        return self._at(ref).render_delete(ref)

    async def apply(self, record: Job) -> None:
        await self._of(record).apply(record)

    async def observe(self, ref: JobRef) -> Observation:
        return await self._at(ref).observe(ref)

    async def stop(self, ref: JobRef) -> None:
        await self._at(ref).stop(ref)

    async def delete(self, ref: JobRef) -> None:
        await self._at(ref).delete(ref)

    async def release(self, ref: JobRef) -> None:
        if ref.on is None:
            await self.own.release(ref)

    async def owned(self) -> AsyncIterator[JobRef]:
        async for ref in self.own.owned():
            yield ref
        async for ref in self._guests.owned():
            yield ref

    async def changes(self) -> AsyncIterator[JobRef]:
        async for ref in self.own.changes():
            yield ref

    def logs(self, ref: JobRef, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        return self._at(ref).logs(ref, offset=offset, follow=follow)

    def _of(self, record: Job) -> KubeJobs | GuestJobs:
        return self.own if record.spec.cluster is None else self._guests

    def _at(self, ref: JobRef) -> KubeJobs | GuestJobs:
        return self.own if ref.on is None else self._guests
