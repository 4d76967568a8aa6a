"""Records that are kept by the hundred: services, clusters."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from raysvc.domain.event import Event

if TYPE_CHECKING:
    from raysvc.ports.store import Lease


class Kept(Protocol):
    """What a store goes by; the rest of a record is in its text."""

    @property
    def id(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def project(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def finished_at(self) -> datetime | None: ...
    @property
    def deleted(self) -> bool: ...
    @property
    def text(self) -> str: ...
    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray) -> Self: ...


K = TypeVar("K", bound=Kept)


class Records(Protocol[K]):
    """Records of one kind and their events: so few that lists are whole. Each write is durable on return."""

    async def add(self, record: K, events: Sequence[Event]) -> None:
        """Keep a new one. Raises AlreadyExists where its project has one of that name that is not deleted."""

    async def get(self, project: str, name: str) -> K:
        """Return the one of that name that is not deleted; raises NotFound."""

    async def get_by_uid(self, uid: str) -> K:
        """Return it, deleted or not; raises NotFound."""

    async def live(self) -> Sequence[K]:
        """Return all that are not deleted, oldest first."""

    async def save(self, record: K, events: Sequence[Event], *, fence: "Lease | None" = None) -> None:
        """Compare-and-set: the stored version must be that of the first event, less one. Raises StaleVersion.

        With a `fence` also where somebody else has taken that lease since: a leader that was held up changes nothing.
        Raises NotFound for one that is not there.
        """

    async def events(self, uid: str, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Return events of a record with seq > after, in order."""

    async def prune(self, *, finished_before: datetime, limit: int) -> Sequence[K]:
        """Remove deleted ones that were gone before then, and return them."""
