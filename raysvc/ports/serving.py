"""What serving needs of the world: services on a cluster, and the proxy in front of their replicas."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import Field

from raysvc.domain.model import Model, Uid
from raysvc.domain.observation import Observation
from raysvc.domain.rendered import Rendered
from raysvc.domain.service import Service


class Services(Protocol):
    """The model deployments of one backend. A service's Ref is its uid; `Service.deployed` is what is to be there."""

    def render(self, record: Service) -> Rendered:
        """Return what `apply` would send for the record. Pure. Raises Invalid for what can never be served here."""

    async def apply(self, record: Service) -> None:
        """Make what `record.deployed` names the whole of what is there. Idempotent.

        The first of them is the revision that is wanted; a second one still serves until the first is healthy, and
        stays where there is room for both. All others go, after the requests they have in hand. Where only the number
        of replicas is another, no engine is started anew. Raises Invalid where the backend refuses it for good,
        NotFound where a secret or the model is gone, Unavailable where trying again may help.
        """

    async def observe(self, uid: Uid) -> Observation:
        """Return what is there of the revision that was last wanted. Never raises: an unreachable backend is UNKNOWN.

        ABSENT: nothing. PENDING: being made, `cause` says what it waits for. RUNNING: its replicas are up, as far as
        the backend knows; which of them are ready they report themselves. FAILED: it cannot start, and is not tried
        again: `cause` is ENGINE_FAILED, OUT_OF_MEMORY or MODEL_NOT_FOUND, `message` the engine's own last words.
        """

    async def delete(self, uid: Uid) -> None:
        """Remove it and its replicas; what they wrote may stay a while for `logs`. Absent counts as success."""

    def owned(self) -> AsyncIterator[Uid]:
        """Yield the uid of all that carries our name, for the orphan sweep."""

    def logs(self, uid: Uid, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """Yield the output of its replicas from byte `offset`; nothing where there is none.

        With follow, go on as it comes until the caller stops, or the service is gone.
        """


@runtime_checkable
class Serving(Protocol):
    """A backend that can serve models."""

    @property
    def services(self) -> Services: ...


@dataclass(frozen=True)
class ReplicaHome:
    """Where replicas report, and by what right. `url` is the control plane's: `POST {url}/v1/replicas/report`.

    `token(uid)` opens that call for replicas of this service and nothing else: it goes to the replica in a file of mode
    0600, never on a command line. It is the same whenever it is asked for, as long as the server's key is.
    """

    url: str
    token: Callable[[str], str]


class Target(Model):
    """A replica that takes requests."""

    replica: str
    host: str
    port: int


class Route(Model):
    """Requests for any of these model names go to these targets. No targets: 503 with a reason."""

    service: Uid
    models: tuple[str, ...]
    targets: tuple[Target, ...] = Field(default=())


class Edge(Protocol):
    """The proxy that OpenAI clients talk to: it reads the model's name from the body and picks a replica."""

    @property
    def url(self) -> str:
        """Return where it listens, without `/v1`."""

    async def start(self) -> None:
        """Begin to bring it up, or adopt one that runs. Raises Conflict where its port is taken."""

    async def route(self, routes: Sequence[Route]) -> None:
        """Make this the whole table, without dropping a request. Idempotent. Raises Unavailable."""

    async def close(self, *, leave_running: bool = False) -> None: ...
