"""A backend in memory: jobs that do what their entrypoint says, in the clock's time, and faults by the dice.

It holds to the contract suite of `tests/contract/backend/`, as real Ray does. Nothing runs in the background, so a
simulation of a million attempts costs no waiting.
"""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.job import Job, JobRef
from raysvc.domain.node import NodeView
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.placement import HEAD
from raysvc.domain.pool import Discovery
from raysvc.domain.rendered import Rendered
from raysvc.domain.resources import Resources
from raysvc.errors import Invalid, NotFound, Unavailable
from raysvc.ports import ArtifactFile, Clock, Endpoint, Materials
from raysvc.testing.cluster import FakeRay, Outcome, working_dir
from raysvc.testing.serving import FakeServices
from raysvc.testing.shared_clusters import FakeSharedClusters
from raysvc.testing.shell import foresee

CLUSTER = "local"


class Crash(BaseException):
    """The process died between an effect and its record. No Exception: nothing but the test may catch it."""


@dataclass(frozen=True)
class Faults:
    """How likely each fault is, 0 to 1, per call."""

    unknown: float = 0.0  # observe cannot tell
    stale: float = 0.0  # observe tells what was to be seen up to `stale_s` ago
    unread: float = 0.0  # logs raises Unavailable
    refused: float = 0.0  # a call does nothing and raises Unavailable
    reply_lost: float = 0.0  # a call does its work and raises Unavailable
    crash: float = 0.0  # a call does its work and raises Crash
    late: float = 0.0  # apply raises Unavailable, and the job arrives within `late_s` all the same
    twice: float = 0.0  # apply arrives twice, the second time within `late_s`
    lost: float = 0.0  # an attempt dies with its driver, after a part of its time
    late_s: float = 30.0
    stale_s: float = 1.0


class FakeBackend:
    """Implements `Backend`, `Reachable`, `Surveyed` and `Serving`.

    `faults` may be set at any time; equal seeds throw equal dice.

    `ray` is the cluster behind it: script how attempts end, lose them all, count what ran and what ran at once.
    `cluster` is what `clusters` shows; in any phase but READY, calls raise Unavailable and observe is UNKNOWN.
    `poll_s` is how often a log that is followed is looked at. `machines` are the nodes that there are.
    """

    def __init__(self, clock: Clock, materials: Materials, *, seed: int = 0, faults: Faults | None = None) -> None:
        self.clock = clock
        self.materials = materials
        self.dice = random.Random(seed)  # noqa: S311 dice, not keys
        self.ray = FakeRay(clock, self.dice)
        self.faults = faults or Faults()
        self.poll_s = 0.1
        self.cluster = Cluster(
            name=CLUSTER,
            project="default",
            backend="fake",
            phase=ClusterPhase.PENDING,
            ray_version="2.60.0",
            nodes=1,
            resources=Resources(cpus=4, memory=8 << 30),
            free_memory=8 << 30,
            max_running_jobs=4,
        )
        self.clusters = FakeClusters(self)
        self.shared = FakeSharedClusters()
        self.jobs = FakeJobs(self)
        self.services = FakeServices(self)
        self.artifacts = FakeArtifacts(self.ray)
        self.machines: list[NodeView] = []
        self.head = HEAD

    @property
    def ready(self) -> bool:
        return self.cluster.phase is ClusterPhase.READY

    def script(self, uid: str, *outcomes: Outcome) -> None:
        """Say how a job's attempts end, the first outcome for attempt 1; later ones do as their entrypoint says."""
        self.ray.outcomes[uid] = list(outcomes)

    def turn(self, phase: ClusterPhase) -> None:
        self.cluster = self.cluster.model_copy(update={"phase": phase})

    def strike(self, chance: float) -> bool:
        return chance > 0 and self.dice.random() < chance

    def unclear(self) -> bool:
        return self.strike(self.faults.unknown)

    def effect(self) -> "_Effect":
        return _Effect(self)

    async def start(self) -> None:
        self.turn(ClusterPhase.READY)

    async def close(self, *, leave_running: bool = False) -> None:
        if not leave_running:
            self.ray.lose_all()
        self.turn(ClusterPhase.GONE)

    async def nodes(self) -> Sequence[NodeView]:
        return sorted(self.machines, key=lambda node: node.name)

    async def discover(self) -> Discovery:
        return Discovery(pools=(), left=tuple(f"{node.name}: is a fake" for node in await self.nodes()))

    async def endpoint(self, cluster: str) -> Endpoint:
        await self.clusters.get(cluster)
        return Endpoint(url="http://127.0.0.1:9", headers={"authorization": "Bearer fake"})


class FakeJobs:
    """Implements `Driver[Job, JobRef]` and `Foreseeable`."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def render(self, record: Job) -> Rendered:
        ref = _ref(record)
        if record.spec.code is not None and record.spec.code.kind == "image":
            raise Invalid("The fake runs no containers.", field="code.kind")
        variables = {name: f"${{secret:{secret}}}" for name, secret in record.spec.secrets.items()}
        body = {"submission_id": ref.name, "entrypoint": record.spec.entrypoint, "runtime_env": {"env_vars": variables}}
        return _rendered(("POST", "/api/jobs/", body))

    def render_stop(self, ref: JobRef) -> Rendered:
        return _rendered(("POST", f"/api/jobs/{ref.name}/stop", {}))

    def render_delete(self, ref: JobRef) -> Rendered:
        return _rendered(("POST", f"/api/jobs/{ref.name}/stop", {}), ("DELETE", f"/api/jobs/{ref.name}", {}))

    async def apply(self, record: Job) -> None:
        self.render(record)
        run = foresee(record.spec.entrypoint, await self._environment(record))
        await self._package(record)
        backend, faults = self._backend, self._backend.faults
        with _Effect(backend) as now:
            late, twice = backend.strike(faults.late), backend.strike(faults.twice)
            if late or twice:
                backend.ray.send_later(faults.late_s * backend.dice.random(), record, run)
            if late:
                raise Unavailable("The fake has lost sight of the job on its way.")
            backend.ray.lost = faults.lost
            backend.ray.apply(now, record, run)

    async def observe(self, ref: JobRef) -> Observation:
        now = self._backend.ray.advance()
        if not self._backend.ready or self._backend.strike(self._backend.faults.unknown):
            return Observation(seen=Seen.UNKNOWN, message="The fake cannot tell.")
        if self._backend.strike(self._backend.faults.stale):
            now -= timedelta(seconds=self._backend.dice.random() * self._backend.faults.stale_s)
        return self._backend.ray.seen(ref, now)

    async def stop(self, ref: JobRef) -> None:
        with _Effect(self._backend):
            self._backend.ray.stop(ref)

    async def delete(self, ref: JobRef) -> None:
        with _Effect(self._backend):
            self._backend.ray.delete(ref)

    async def owned(self) -> AsyncIterator[JobRef]:
        self._backend.ray.advance()
        for ref in self._backend.ray.known():
            yield ref

    async def logs(self, ref: JobRef, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        if self._backend.strike(self._backend.faults.unread):
            raise Unavailable("The fake cannot read the log now.")
        while True:
            now = self._backend.ray.advance()
            life = self._backend.ray.lives.get(ref.name)
            if life and (fresh := life.output(now)[offset:]):
                yield fresh
                offset += len(fresh)
            if life is None or life.over(now) or not follow:
                return
            await self._backend.clock.sleep(self._backend.poll_s)

    async def _environment(self, job: Job) -> dict[str, str]:
        variables = {
            **(job.spec.runtime_env.get("env_vars") or {}),
            "RAYSVC_JOB_ID": job.id,
            "RAYSVC_ATTEMPT": str(job.attempt),
            "RAYSVC_PROJECT": job.project,
        }
        for variable, name in job.spec.secrets.items():
            try:
                variables[variable] = await self._backend.materials.secret(job.project, name)
            except NotFound as error:
                raise NotFound(error.message, field="secrets") from error
        return variables

    async def _package(self, job: Job) -> None:
        uri = working_dir(job)
        try:
            if uri.startswith("gcs://"):
                _, chunks = await self._backend.materials.package(job.project, uri.removeprefix("gcs://"))
                async for _ in chunks:
                    pass
        except NotFound as error:
            raise NotFound(error.message, field="packages") from error


class _Effect:
    """A call that changes something, and the faults that may befall it before and after."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    def __enter__(self) -> datetime:
        if not self._backend.ready or self._backend.strike(self._backend.faults.refused):
            raise Unavailable("The fake does not answer.")
        return self._backend.ray.advance()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._backend.strike(self._backend.faults.reply_lost):
            raise Unavailable("The fake's answer was lost.")
        if kind is None and self._backend.strike(self._backend.faults.crash):
            raise Crash


class FakeClusters:
    """Implements `Clusters`."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend

    async def get(self, name: str) -> Cluster:
        if name != CLUSTER:
            raise NotFound(f"There is no cluster {name!r}.")
        return self._backend.cluster

    async def list(self) -> Sequence[Cluster]:
        return [self._backend.cluster]


class FakeArtifacts:
    """Implements `Artifacts`: the files that `echo … > FILE` made."""

    def __init__(self, ray: FakeRay) -> None:
        self._ray = ray

    async def list(self, uid: str) -> Sequence[ArtifactFile]:
        items = sorted(self._ray.files.get(uid, {}).items())
        return [ArtifactFile(path=path, size=len(data), modified_at=at) for path, (data, at) in items]

    async def read(self, uid: str, path: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        try:
            data, _ = self._ray.files[uid][path]
        except KeyError as error:
            raise NotFound(f"Job {uid} has no artifact {path!r}.", field="path") from error
        yield data[offset:]

    async def delete(self, uid: str) -> None:
        self._ray.files.pop(uid, None)


def _ref(job: Job) -> JobRef:
    if job.ref is None:
        raise Invalid(f"Job {job.id} has no attempt yet.", field="attempt")
    return job.ref


def _rendered(*calls: tuple[str, str, Mapping[str, object]]) -> Rendered:
    return Rendered(format="http", documents=tuple({"method": m, "path": p, "body": b} for m, p, b in calls))
