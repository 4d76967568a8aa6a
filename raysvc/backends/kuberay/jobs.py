"""Jobs on Kubernetes. Implements `Driver[Job, JobRef]`: one attempt is one RayJob with its own cluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import structlog

from raysvc.backends.kuberay.cache import Cache
from raysvc.backends.kuberay.config import KubeConfig
from raysvc.backends.kuberay.handover import Handover
from raysvc.backends.kuberay.label import ATTEMPT, JOB
from raysvc.backends.kuberay.looks import Looks
from raysvc.backends.kuberay.manifest import hand_over_of, rendered
from raysvc.backends.kuberay.objects import Objects
from raysvc.backends.kuberay.rays import Rays
from raysvc.backends.kuberay.status import Stage, View, trouble_of, view_of
from raysvc.backends.rayjob.api import RayApi
from raysvc.backends.rayjob.body import current_ref
from raysvc.backends.rayjob.restlog import RestLog
from raysvc.backends.rayjob.status import observation as ray_observation
from raysvc.domain.job import Job, JobRef
from raysvc.domain.observation import ENDED, Observation, Seen
from raysvc.domain.rendered import Rendered
from raysvc.errors import RaysvcError, Unavailable
from raysvc.ports import Clock, Materials

_POLL_S = 0.2
# Ray's own grace, and what its processes need beside it.
_STOP_MARGIN_S = 20.0
# The operator sees the deletion, tells Ray, and lets go; it looks every 3 s.
_DELETE_S = 20.0
# A head that does not hear a stop for so long is not waited for: its cluster is taken away.
_DEAF_S = 60.0
_MOST_HINTS = 10_000
log = structlog.get_logger()
Json = dict[str, Any]


@dataclass(frozen=True)
class World:
    """What jobs on Kubernetes stand on, once it is known where that is."""

    objects: Objects
    jobs: Cache
    pods: Cache
    rays: Rays
    looks: Looks


class KubeJobs:
    """`world` raises Unavailable until there is a connection."""

    def __init__(
        self, config: KubeConfig, instance: str, materials: Materials, clock: Clock, world: Callable[[], World]
    ) -> None:
        self._config = config
        self._instance = instance
        self._handover = Handover(materials, config.data_dir)
        self._clock = clock
        self._world = world
        self._hints: asyncio.Queue[JobRef] = asyncio.Queue(_MOST_HINTS)
        self._deaf: dict[str, float] = {}
        # Attempts whose cluster may go as soon as the operator has noted their end.
        self._released: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def render(self, record: Job) -> Rendered:
        return rendered(record, self._config, self._instance)

    def render_stop(self, ref: JobRef) -> Rendered:
        return Rendered(format="http", documents=({"method": "POST", "path": f"/api/jobs/{ref.name}/stop"},))

    def render_delete(self, ref: JobRef) -> Rendered:
        removal = {"method": "DELETE", "path": f"/apis/ray.io/v1/namespaces/…/rayjobs/{ref.name}"}
        return Rendered(format="http", documents=(*self.render_stop(ref).documents, removal))

    async def apply(self, record: Job) -> None:
        """Make the RayJob; or, once its cluster stands, hand the job over to it.

        Each step may be the last before a crash, and is repeated with the same result: the objects have the attempt's
        name, so has the job on Ray, and spec.jobId is set last.
        """
        world, ref = self._world(), current_ref(record)
        documents = self.render(record).documents
        manifests = [document for document in documents if "kind" in document]
        found = await world.objects.ray_job(ref)
        if found is None:
            await self._handover.check_packages(record.project, _post(documents)["body"]["runtime_env"])
            made = await world.objects.create(await self._handover.with_secrets(record.project, manifests))
            await world.objects.adopt(made, manifests)
            world.jobs.put(made)
        elif (view := view_of(found)).ready:
            await world.objects.adopt(found, manifests)
            api = await world.rays.of(view)
            if await api.job(ref.name) is None:
                await self._handover.submit(api, record.project, _post(documents)["body"])
            world.jobs.put(await world.objects.hand_over(found, hand_over_of(ref)))

    async def observe(self, ref: JobRef) -> Observation:
        try:
            looks = self._world().looks
        except RaysvcError as error:
            return Observation(seen=Seen.UNKNOWN, message=error.message)
        return await looks.observe(ref)

    async def stop(self, ref: JobRef) -> None:
        """Ask Ray to end it; where Ray has not got it, or is gone, take its cluster away."""
        world = self._world()
        found = await world.objects.ray_job(ref)
        view = view_of(found) if found is not None else None
        if found is None or view is None or view.stage is Stage.ENDED or view.deleting:
            self._deaf.pop(ref.name, None)
            return
        # Of one that is suspended, no Ray is left that could stop it.
        if view.dashboard and not found["spec"].get("suspend") and await self._stop_on_ray(world, found, view):
            return
        await world.objects.delete(ref)

    async def delete(self, ref: JobRef) -> None:
        """Stop it and wait for its end, then remove its objects. Raises Unavailable where that takes too long."""
        world = self._world()
        if await world.objects.ray_job(ref) is not None:
            await self.stop(ref)
            await self._until(lambda: self._over(world, ref), self._config.stop_grace_s + _STOP_MARGIN_S, ref)
        await world.objects.delete(ref)
        await self._until(lambda: self._gone(world, ref), _DELETE_S, ref)
        world.looks.forget(ref)
        await world.rays.forget(ref.name)
        self._deaf.pop(ref.name, None)
        self._released.discard(ref.name)

    async def release(self, ref: JobRef) -> None:
        """Let the cluster of an attempt go that has ended: now, or when the operator has noted the end.

        Not before: it would make the cluster anew. Of an end that Ray does not know, since its head is gone, the
        operator never hears: then the RayJob is suspended, which takes the cluster away. It stays, so that nobody makes
        the attempt again.
        """
        world = self._world()
        found = await world.objects.ray_job(ref)
        if found is None:
            return
        view = view_of(found)
        if view.stage is Stage.GOING and not world.looks.ended_on_ray(ref):
            world.jobs.put(await world.objects.suspend(found))
            await world.rays.forget(ref.name)
            return
        self._released.add(ref.name)
        await self._let_go(view)

    async def owned(self) -> AsyncIterator[JobRef]:
        async with aclosing(self._world().objects.owned()) as refs:
            async for ref in refs:
                yield ref

    async def changes(self) -> AsyncIterator[JobRef]:
        while True:
            yield await self._hints.get()

    async def logs(self, ref: JobRef, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        async def ended() -> bool:
            return (await self.observe(ref)).seen in ENDED | {Seen.ABSENT}

        source = RestLog(lambda: self._with_log(ref), ref, self._clock)
        async with aclosing(source.read(offset, ended if follow else None)) as chunks:
            async for chunk in chunks:
                yield chunk

    def heard_of_job(self, ray_job: Json) -> None:
        """Take a hint from the watch of RayJobs."""
        view = view_of(ray_job)
        self._hint(JobRef.parse(view.name))
        if view.name in self._released and view.stage is Stage.ENDED:
            task = asyncio.create_task(self._let_go_quietly(view), name=f"release {view.name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def heard_of_pod(self, pod: Json) -> None:
        """Take a hint from the watch of pods: that one cannot run."""
        labels = (pod.get("metadata") or {}).get("labels") or {}
        if trouble_of([pod]):
            self._hint(JobRef.parse(f"job-{labels.get(JOB)}-{labels.get(ATTEMPT)}"))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _hint(self, ref: JobRef | None) -> None:
        if ref is not None:
            with contextlib.suppress(asyncio.QueueFull):
                self._hints.put_nowait(ref)

    async def _stop_on_ray(self, world: World, found: Json, view: View) -> bool:
        """Return whether Ray has the job, and is told. Raises Unavailable while it does not answer and may yet."""
        now = self._clock.now().timestamp()
        try:
            api = await world.rays.of(view)
            record = await api.job(view.name)
            if record is not None and ray_observation(record).seen not in ENDED:
                await api.stop(view.name)
        except Unavailable as error:
            if now - self._deaf.setdefault(view.name, now) < _DEAF_S:
                raise
            log.warning("head does not hear the stop; its cluster is removed", attempt=view.name, why=error.message)
            return False
        self._deaf.pop(view.name, None)
        if record is not None and not view.handed_over:
            # A server died between the two: so the operator notes the end.
            world.jobs.put(
                await world.objects.hand_over(found, [{"op": "add", "path": "/spec/jobId", "value": view.name}])
            )
        return record is not None

    async def _over(self, world: World, ref: JobRef) -> bool:
        found = await world.objects.ray_job(ref)
        if found is None or (view := view_of(found)).deleting or view.stage is Stage.ENDED:
            return True
        return (await world.looks.observe(ref)).seen in ENDED

    async def _gone(self, world: World, ref: JobRef) -> bool:
        return await world.objects.ray_job(ref) is None

    async def _until(self, done: Callable[[], Any], seconds: float, ref: JobRef) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not await done():
                    await self._clock.sleep(_POLL_S)
        except TimeoutError as error:
            raise Unavailable(f"{ref.name} is not gone after {seconds:.0f} s; it is tried again.") from error

    async def _with_log(self, ref: JobRef) -> RayApi | None:
        """Return the Ray that has an attempt's log; None where there is none yet, or its cluster is gone."""
        world = self._world()
        view = await world.looks.view(ref)
        if view is None or not view.on_ray or world.looks.lost(view, ref):
            return None
        try:
            return await world.rays.of(view)
        except Unavailable:
            if await world.objects.has_cluster(view.cluster):
                raise
            return None

    async def _let_go_quietly(self, view: View) -> None:
        try:
            await self._let_go(view)
        except RaysvcError as error:
            log.warning("cluster not removed; the operator will", attempt=view.name, error=error.message)

    async def _let_go(self, view: View) -> None:
        if view.stage is Stage.ENDED and view.cluster:
            await self._world().objects.delete_cluster(view.cluster)
            await self._world().rays.forget(view.name)
            self._released.discard(view.name)


def _post(documents: Sequence[Json]) -> Json:
    """Return the call that hands the job to Ray."""
    return next(document for document in documents if document.get("method") == "POST")
