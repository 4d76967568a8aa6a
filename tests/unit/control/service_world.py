"""Services on fakes and virtual time: a platform's loop of services, moved by hand."""

from dataclasses import dataclass, field
from random import Random

from raysvc.control.ids import RandomIds
from raysvc.control.key import KeyDesk
from raysvc.control.lease import Leadership
from raysvc.control.limit import ProjectCache
from raysvc.control.serving.desk import ServiceDesk
from raysvc.control.serving.intake import ServiceIntake
from raysvc.control.serving.loop import ServiceLoop, ServiceWorld
from raysvc.control.serving.replicas import ReplicaDesk
from raysvc.control.serving.router import Router
from raysvc.control.signal import Signals
from raysvc.control.usage import UsageDesk
from raysvc.control.vault import Vault
from raysvc.domain.access import Principal
from raysvc.domain.event import fold
from raysvc.domain.project import Project, Role
from raysvc.domain.resources import Resources
from raysvc.domain.service import ReplicaScale, Service, ServiceSpec
from raysvc.ports import Policy
from raysvc.testing.backend import FakeBackend
from raysvc.testing.blobs import MemoryBlobs
from raysvc.testing.clock import FakeClock
from raysvc.testing.serving import FakeEdge
from raysvc.testing.store import MemoryStore
from tests.unit.control.world import KEY

ADA = Principal(name="ada", role=Role.ADMIN)


def spec(model: str = "/models/one", *, least: int = 1, most: int | None = None, **fields: float) -> ServiceSpec:
    """Return a spec whose engine takes a CPU."""
    scale = ReplicaScale(min=least, max=max(least, 1) if most is None else most)
    return ServiceSpec(model=model, replicas=scale, resources=Resources(cpus=1), **fields)


@dataclass
class ServicePlace:
    """`step` is one look of the loop, a second later, after every replica that is ready has reported."""

    policies: tuple[Policy, ...] = ()
    clock: FakeClock = field(default_factory=FakeClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    edge: FakeEdge = field(default_factory=FakeEdge)
    silent: bool = False

    def __post_init__(self) -> None:
        self.ids = RandomIds(Random(0))  # noqa: S311 replayed, not secret
        self.signals = Signals()
        self.vault = Vault(KEY, self.store.secrets, self.store.packages, MemoryBlobs(), self.clock)
        self.backend = FakeBackend(self.clock, self.vault)
        self.driver = self.backend.services
        self.reborn()

    def reborn(self, holder: str = "one") -> None:
        """Begin anew on the same store and cluster, as after a `kill -9`."""
        store, clock = self.store, self.clock
        self.keys = KeyDesk(store.keys, store.ledger, store.projects, clock, self.ids)
        usage = UsageDesk(store.ledger, self.keys, store.projects, clock)
        self.replicas = ReplicaDesk(
            (store.services, store.sightings),
            (self.keys, usage),
            (self.vault.replica_token, lambda host: host == "127.0.0.1"),
            clock,
            self.signals,
        )
        intake = ServiceIntake(self.backend, store.services, ProjectCache(store.projects, clock), self.policies)
        self.desk = ServiceDesk(store.services, intake, self.replicas, clock, self.ids, self.signals)
        self.leadership = Leadership(store.leases, clock, self.signals, holder)
        world = ServiceWorld(
            store.services, self.driver, self.replicas, Router(self.edge, self.replicas), self.signals, clock
        )
        self.loop = ServiceLoop(world, self.leadership)

    async def open(self) -> "ServicePlace":
        await self.store.open()
        await self.store.projects.put(Project(name="default", created_at=self.clock.now()))
        await self.backend.start()
        return self

    async def step(self, times: int = 1) -> None:
        for _ in range(times):
            await self.leadership.renew()
            if not self.silent:
                await self.driver.speak(self.replicas.report, self.vault.replica_token)
            await self.loop.step()
            self.clock.advance(1)

    async def deploy(self, wanted: ServiceSpec | None = None, name: str = "chat") -> Service:
        return (await self.desk.deploy(ADA, "default", name, wanted or spec())).service

    async def now(self, name: str = "chat") -> Service:
        return await self.store.services.get("default", name)

    async def audit(self, uid: str) -> None:
        """See that the record is the fold of its events."""
        service = await self.store.services.get_by_uid(uid)
        assert fold(await self.store.services.events(uid)) == service.model_dump(mode="json")

    def routed(self, name: str = "chat") -> list[str]:
        """Return the replicas that the proxy sends requests for that model to."""
        return [target.replica for route in self.edge.routes if name in route.models for target in route.targets]
