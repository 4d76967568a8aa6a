"""Kubernetes behind the ports. Implements `Backend`, `Hosting`, `Reachable` and `Surveyed`."""

import asyncio
import contextlib
from collections.abc import Sequence

from raysvc.backends.kuberay.artifacts import NOT_KEPT, KubeArtifacts
from raysvc.backends.kuberay.cache import Cache
from raysvc.backends.kuberay.clusters import KubeClusters
from raysvc.backends.kuberay.config import CLUSTER, KubeConfig
from raysvc.backends.kuberay.connect import Connection, connect
from raysvc.backends.kuberay.ground import Ground
from raysvc.backends.kuberay.guests import GuestJobs
from raysvc.backends.kuberay.handover import Handover
from raysvc.backends.kuberay.host import host_of
from raysvc.backends.kuberay.hosts import KubeSharedClusters, Yard, marks
from raysvc.backends.kuberay.jobs import KubeJobs, World
from raysvc.backends.kuberay.looks import Looks
from raysvc.backends.kuberay.objects import Objects
from raysvc.backends.kuberay.rays import Rays
from raysvc.backends.kuberay.route import RoutedJobs
from raysvc.domain.job import JobRef
from raysvc.domain.node import NodeView
from raysvc.domain.pool import Discovery
from raysvc.domain.resources import Resources
from raysvc.errors import NotFound, Unavailable
from raysvc.ports import Clock, Endpoint, Materials


class KubeBackend:
    """The RayJobs of one namespace that bear the label of `instance`, and a Ray cluster for each."""

    def __init__(self, config: KubeConfig, instance: str, materials: Materials, clock: Clock) -> None:
        self._config = config
        self._instance = instance
        self._clock = clock
        self._connection: Connection | None = None
        self._world: World | None = None
        self._yard: Yard | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.clusters = KubeClusters(config)
        self.shared = KubeSharedClusters(config, instance, self._require_yard)
        self._own = KubeJobs(config, instance, materials, clock, self._require)
        handover = Handover(materials, config.data_dir)
        self._guests = GuestJobs(instance, handover, clock, lambda: (self._require_yard(), self._require().rays))
        self.jobs = RoutedJobs(self._own, self._guests)
        self.artifacts = KubeArtifacts()
        self._ground = Ground(instance, config.head)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator must be told, after `start`."""
        return (NOT_KEPT,)

    @property
    def head(self) -> Resources:
        """What the head of each job's cluster takes, before any driver."""
        return self._ground.head

    async def start(self) -> None:
        """Begin to watch; returns before the API server has answered. Raises Invalid for a context that is not there.

        What an earlier process made is found by its labels.
        """
        if self._connection is not None:
            return
        self._connection = connection = await connect(self._config.context, self._config.namespace)
        kube, objects = connection.kube, Objects(connection.kube, connection.namespace, self._instance)
        jobs = Cache(kube, objects.folder("RayJob"), objects.mine, self._clock, self._own.heard_of_job)
        pods = Cache(kube, objects.folder("Pod"), objects.mine, self._clock, self._own.heard_of_pod)
        mark = {"labelSelector": marks(self._instance)}
        hosts = Cache(kube, objects.folder("RayCluster"), mark, self._clock, lambda _: None)
        rays = Rays(connection)
        self._world = World(objects, jobs, pods, rays, Looks(objects, jobs, pods, rays, self._clock))
        self._yard = Yard(kube, objects, hosts, pods)
        self.clusters.use(kube, jobs)
        self._ground.use(kube)
        self._tasks = [asyncio.create_task(cache.run(), name=f"watch {cache.path}") for cache in (jobs, pods, hosts)]

    async def close(self, *, leave_running: bool = False) -> None:  # noqa: ARG002 nothing there is a child of ours
        """Let go: what runs on Kubernetes goes on, and the next start finds it. May be repeated."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        await self._own.close()
        world, self._world, self._yard = self._world, None, None
        if world is not None:
            await world.rays.close()
        self._ground.use(None)
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.kube.close()

    async def nodes(self) -> Sequence[NodeView]:
        """Return the cluster's nodes with what all pods ask of them, some seconds old at most. Raises Unavailable."""
        return await self._ground.nodes()

    async def discover(self) -> Discovery:
        """Return the pools that the nodes suggest. Raises Unavailable."""
        return await self._ground.discover()

    async def endpoint(self, cluster: str) -> Endpoint:
        """Return where the Ray of an attempt answers, or of a shared cluster, by its name outside.

        Raises NotFound, Unavailable.
        """
        if cluster == CLUSTER:
            raise Unavailable("On Kubernetes each job has a Ray cluster of its own, and there is none for all.")
        ref, world = JobRef.parse(cluster), self._require()
        if ref is None and (found := await self._require_yard().get(cluster)):
            return await world.rays.endpoint(host_of(found))
        view = await world.looks.view(ref) if ref else None
        if view is None:
            raise NotFound(f"There is no cluster {cluster!r}.")
        return await world.rays.endpoint(view)

    def _require_yard(self) -> Yard:
        if self._yard is None:
            raise Unavailable("Kubernetes is not connected yet.")
        return self._yard

    def _require(self) -> World:
        if self._world is None:
            raise Unavailable("Kubernetes is not connected yet.")
        return self._world
