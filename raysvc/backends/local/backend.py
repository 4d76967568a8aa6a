"""The local backend: Ray on this machine behind the ports. Implements `Backend` and `Reachable`."""

from collections.abc import Callable

from raysvc.backends.local.artifacts import LocalArtifacts
from raysvc.backends.local.clusters import LocalClusters
from raysvc.backends.local.config import CLUSTER, LocalConfig
from raysvc.backends.local.head import HeadFiles, free_port
from raysvc.backends.local.jobs import LocalJobs, World
from raysvc.backends.local.pool.pools import Terms
from raysvc.backends.local.pool.runs import Runs
from raysvc.backends.local.services import LocalServices, ServiceWorld
from raysvc.backends.local.session import GivenAddress, OwnHead, Source
from raysvc.backends.local.supervisor import Supervisor
from raysvc.errors import NotFound
from raysvc.ports import Clock, Endpoint, Materials, ReplicaHome


class LocalBackend:
    """One cluster, named `local`. All its jobs share a machine and a user: projects are kept apart by the API alone.

    It serves models where it is told, by `home`, where their replicas report.
    """

    services: LocalServices

    def __init__(
        self,
        config: LocalConfig,
        materials: Materials,
        clock: Clock,
        choose_port: Callable[[], int] = free_port,
        home: ReplicaHome | None = None,
    ) -> None:
        self._source: Source = (
            GivenAddress(config, config.ray_address) if config.ray_address else OwnHead(config, clock, choose_port)
        )
        self._supervisor = Supervisor(self._source, clock, config.unhealthy_after_s)
        terms = Terms(
            area=lambda: self._source.area,
            instance=HeadFiles(config.shared_dir or config.data_dir).instance(),
            most=config.job_limit,
            grace_s=config.stop_grace_s,
            clock=clock,
        )
        self._runs = Runs(terms)
        world = World(
            supervisor=self._supervisor,
            area=lambda: self._source.area,
            materials=materials,
            clock=clock,
            instance=terms.instance,
            own=config.ray_address is None,
            stop_grace_s=config.stop_grace_s,
            runs=self._runs,
        )
        self.clusters = LocalClusters(config, self._supervisor)
        self.jobs = LocalJobs(world)
        self.artifacts = LocalArtifacts(world.area)
        if home is not None:
            self.services = LocalServices(
                ServiceWorld(
                    supervisor=self._supervisor,
                    area=world.area,
                    home=home,
                    clock=clock,
                    instance=terms.instance,
                    own=world.own,
                )
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator must be told, after `start`: say, that jobs run as root."""
        return self._source.warnings

    async def start(self) -> None:
        """Begin to bring Ray up, or adopt the head that an earlier server left; `clusters.get` says how far it is.

        Returns before Ray answers. Raises Invalid for a job_user that cannot be.
        """
        await self._source.prepare()
        self._supervisor.start()

    async def close(self, *, leave_running: bool = False) -> None:
        """End our head and every process below it, jobs too; with leave_running, only let go of it. May be repeated."""
        await self._runs.close()
        await self._supervisor.close(leave_running=leave_running)

    async def endpoint(self, cluster: str) -> Endpoint:
        """Return the dashboard's URL and the headers that open it. Raises NotFound, Unavailable while Ray is down."""
        if cluster != CLUSTER:
            raise NotFound(f"There is no cluster {cluster!r} here; there is one, {CLUSTER!r}.")
        api = self._supervisor.require().api
        return Endpoint(url=api.url, headers=dict(api.headers))
