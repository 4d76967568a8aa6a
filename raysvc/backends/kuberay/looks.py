"""What is seen of attempts: RayJobs and pods by their watches, joined with what Ray itself says of the job."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from raysvc.backends.kuberay.cache import Cache
from raysvc.backends.kuberay.label import ATTEMPT, JOB
from raysvc.backends.kuberay.loss import lost_head
from raysvc.backends.kuberay.objects import Objects
from raysvc.backends.kuberay.rays import Rays
from raysvc.backends.kuberay.status import Stage, Trouble, View, observation, refused_pods, trouble_of, view_of
from raysvc.backends.rayjob.status import observation as ray_observation
from raysvc.domain.job import JobRef
from raysvc.domain.observation import ENDED, Observation, Seen
from raysvc.errors import RaysvcError, Unavailable
from raysvc.ports import Clock

# Ray is asked again at most this often while nothing is heard from the operator, which itself asks every 3 s.
_RAY_FRESH = timedelta(seconds=1)
# A cluster that has no pod so long after it was asked for is looked into, as often.
_NO_PODS = timedelta(seconds=5)


class _Heard(NamedTuple):
    at: datetime
    version: str
    seen: Observation


class Looks:
    """Remembers what Ray said of an attempt's end, since its cluster goes before its RayJob."""

    def __init__(self, objects: Objects, jobs: Cache, pods: Cache, rays: Rays, clock: Clock) -> None:
        self._objects = objects
        self._jobs = jobs
        self._pods = pods
        self._rays = rays
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._trouble: dict[str, tuple[datetime, Trouble | None]] = {}

    async def view(self, ref: JobRef) -> View | None:
        """Return an attempt's RayJob; None where the API server itself says that there is none. Raises Unavailable."""
        if not self._jobs.synced:
            raise Unavailable(f"Kubernetes is not heard: {self._jobs.why}")
        # What the watch has not brought may be new, and what it has taken away is worth a second look.
        found = self._jobs.get(ref.name) or await self._objects.ray_job(ref)
        return view_of(found) if found is not None else None

    async def observe(self, ref: JobRef) -> Observation:
        """Return what is there; UNKNOWN where that cannot be told."""
        try:
            view = await self.view(ref)
            if view is None:
                self.forget(ref)
                return Observation(seen=Seen.ABSENT)
            asked = view.on_ray and view.stage in {Stage.WAITING, Stage.GOING, Stage.ENDED}
            ray = await self._ask(view) if asked else None
            if ray is not None and ray.seen is Seen.UNKNOWN:
                ray = self.lost(view, ref) or ray
            return observation(view, await self._hindrance(view, ref), ray)
        except RaysvcError as error:
            return Observation(seen=Seen.UNKNOWN, message=error.message)

    def lost(self, view: View, ref: JobRef) -> Observation | None:
        """Return the end of an attempt whose head is gone, and its log with it."""
        return lost_head(view, self._pods_of(ref))

    def ended_on_ray(self, ref: JobRef) -> bool:
        """Whether Ray itself has said that the attempt ended: then the operator hears of it too."""
        heard = self._heard.get(ref.name)
        return heard is not None and heard.seen.seen in ENDED

    def forget(self, ref: JobRef) -> None:
        self._heard.pop(ref.name, None)
        self._trouble.pop(ref.name, None)

    async def _ask(self, view: View) -> Observation:
        """Return what Ray says; UNKNOWN where it does not answer, ABSENT where it knows no such job."""
        last, now = self._heard.get(view.name), self._clock.now()
        if last and (last.seen.seen in ENDED or (last.version == view.version and now - last.at < _RAY_FRESH)):
            return last.seen
        try:
            record = await (await self._rays.of(view)).job(view.name)
        except RaysvcError as error:
            return Observation(seen=Seen.UNKNOWN, message=error.message)
        seen = Observation(seen=Seen.ABSENT) if record is None else ray_observation(record)
        self._heard[view.name] = _Heard(now, view.version, seen)
        return seen

    async def _hindrance(self, view: View, ref: JobRef) -> Trouble | None:
        if view.stage is not Stage.MAKING:
            return self._trouble.get(ref.name, (None, None))[1]
        pods = self._pods_of(ref)
        at, known = self._trouble.get(ref.name, (self._clock.now(), None))
        if pods:
            known = trouble_of(pods)
        elif view.cluster and self._clock.now() - at > _NO_PODS:
            known, at = await self._why_no_pods(view), self._clock.now()
        self._trouble[ref.name] = at, known
        return known

    def _pods_of(self, ref: JobRef) -> list[dict[str, Any]]:
        """Return its pods as last heard; none while Kubernetes is not heard."""
        return [pod for pod in self._pods.all() if _belongs(pod, ref)] if self._pods.synced else []

    async def _why_no_pods(self, view: View) -> Trouble | None:
        try:
            return refused_pods(await self._objects.warnings(view.cluster))
        except RaysvcError:
            return None  # we may not read events: then it is not told why


def _belongs(pod: Mapping[str, Any], ref: JobRef) -> bool:
    labels = (pod.get("metadata") or {}).get("labels") or {}
    return labels.get(JOB) == ref.uid and labels.get(ATTEMPT) == str(ref.attempt)
