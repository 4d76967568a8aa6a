"""Jobs on a shared cluster: each attempt is a job of that cluster's own Ray. Implements `Driver[Job, JobRef]`."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import structlog

from raysvc.backends.kuberay.handover import Handover
from raysvc.backends.kuberay.hosts import Yard
from raysvc.backends.kuberay.pods import CHECKPOINT, OUTPUT
from raysvc.backends.kuberay.rays import Rays
from raysvc.backends.rayjob.api import RayApi
from raysvc.backends.rayjob.body import Place, current_ref, render, vet
from raysvc.backends.rayjob.restlog import RestLog
from raysvc.backends.rayjob.status import observation as ray_observation
from raysvc.domain.job import ImageCode, Job, JobRef
from raysvc.domain.observation import ENDED, Observation, Seen
from raysvc.domain.rendered import Rendered
from raysvc.errors import Invalid, RaysvcError, Unavailable
from raysvc.ports import Clock

_POLLS, _POLL_S = 100, 0.2
log = structlog.get_logger()
Json = dict[str, Any]


class GuestJobs:
    """`world` raises Unavailable until there is a connection."""

    def __init__(self, instance: str, handover: Handover, clock: Clock, world: Callable[[], tuple[Yard, Rays]]) -> None:
        self._instance = instance
        self._handover = handover
        self._clock = clock
        self._world = world

    def vet(self, record: Job) -> None:
        if record.spec.driver != "ray":
            raise Invalid("Warm drivers belong to one machine; leave out driver, or cluster.", field="driver")
        if isinstance(record.spec.code, ImageCode):
            raise Invalid("A shared cluster has its own image: ship code, or leave out cluster.", field="code.kind")
        vet(record.spec)

    def render(self, record: Job) -> Rendered:
        self.vet(record)
        # The head's disk outlives an attempt, so each job has a folder there, and its next attempt finds it.
        place = Place(f"{CHECKPOINT}/{record.uid}", f"{OUTPUT}/{record.uid}", self._instance)
        *uploads, post = render(record, place).documents
        body = post["body"]
        made = f'mkdir -p "$RAYSVC_CHECKPOINT_DIR" "$RAYSVC_OUTPUT_DIR"\n{body["entrypoint"]}'
        documents = (*uploads, {**post, "body": {**body, "entrypoint": made}})
        return Rendered(format="http", documents=documents)

    def render_stop(self, ref: JobRef) -> Rendered:
        return Rendered(format="http", documents=({"method": "POST", "path": f"/api/jobs/{ref.name}/stop"},))

    def render_delete(self, ref: JobRef) -> Rendered:
        removal = {"method": "DELETE", "path": f"/api/jobs/{ref.name}"}
        return Rendered(format="http", documents=(*self.render_stop(ref).documents, removal))

    async def apply(self, record: Job) -> None:
        ref = current_ref(record)
        api = await self._api(ref)
        if api is None:
            raise Unavailable(f"The cluster of {ref.name} does not stand yet.")
        if await api.job(ref.name) is None:
            await self._handover.submit(api, record.project, self.render(record).documents[-1]["body"])

    async def observe(self, ref: JobRef) -> Observation:
        try:
            api = await self._api(ref)
            record = await api.job(ref.name) if api is not None else None
        except RaysvcError as error:
            return Observation(seen=Seen.UNKNOWN, message=error.message)
        return Observation(seen=Seen.ABSENT) if record is None else ray_observation(record)

    async def stop(self, ref: JobRef) -> None:
        api = await self._api(ref)
        record = await api.job(ref.name) if api is not None else None
        if api is not None and record is not None and ray_observation(record).seen not in ENDED:
            await api.stop(ref.name)

    async def delete(self, ref: JobRef) -> None:
        """Stop it, wait for its end, and remove its record. Raises Unavailable where that takes too long."""
        await self.stop(ref)
        for _ in range(_POLLS):
            api = await self._api(ref)
            record = await api.job(ref.name) if api is not None else None
            if api is None or record is None:
                return
            if ray_observation(record).seen in ENDED:
                await api.delete(ref.name)
                return
            await self._clock.sleep(_POLL_S)
        raise Unavailable(f"{ref.name} is not gone after {_POLLS * _POLL_S:.0f} s; it is tried again.")

    async def owned(self) -> AsyncIterator[JobRef]:
        """Yield what those clusters keep that stand; a cluster that does not answer is left for the next time."""
        yard, rays = self._world()
        for host in yard.hosts():
            if not host.stands:
                continue
            try:
                records = await (await rays.of(host)).jobs()
            except RaysvcError as error:
                log.warning("jobs of a cluster not listed", cluster=host.cluster, error=error.message)
                continue
            for record in records:
                ref = JobRef.parse(str(record.get("submission_id")))
                if ref and (record.get("metadata") or {}).get("raysvc.instance") == self._instance:
                    yield ref.model_copy(update={"on": host.uid})

    async def logs(self, ref: JobRef, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        async def ended() -> bool:
            return (await self.observe(ref)).seen in ENDED | {Seen.ABSENT}

        source = RestLog(lambda: self._api(ref), ref, self._clock)
        async with aclosing(source.read(offset, ended if follow else None)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _api(self, ref: JobRef) -> RayApi | None:
        """Return the Ray of its cluster; None where that is gone, or sleeps. Raises Unavailable while it comes up."""
        yard, rays = self._world()
        host = await yard.by_uid(ref.on or "")
        if host is None:
            await rays.forget(f"cluster-{ref.on}")
        if host is None or (host.suspended and not host.head):
            return None
        return await rays.of(host)
