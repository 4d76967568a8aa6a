"""Clusters that jobs share, at a backend that can make them."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from raysvc.domain.cluster import Foreign, SharedCluster
from raysvc.domain.observation import Observation
from raysvc.domain.rendered import Rendered


class SharedClusters(Protocol):
    """Those of one backend. A cluster's Ref is its `object_name`."""

    def render(self, record: SharedCluster) -> Rendered:
        """Return what `apply` would send to make it. Pure. Raises Invalid for what can never be made here."""

    async def apply(self, record: SharedCluster) -> None:
        """Bring it to what the record says: there, with those bounds, and suspended unless `record.awake`.

        Idempotent. How many workers there are between the bounds is left to Ray's autoscaler. One that is adopted is
        marked as ours. Raises Invalid where the backend refuses it for good, NotFound where one to adopt is gone,
        Unavailable where trying again may help.
        """

    async def observe(self, record: SharedCluster) -> Observation:
        """Return what is there now. Never raises: an unreachable backend is UNKNOWN.

        ABSENT: nothing. PENDING: its head does not stand; `cause` says why, where that is known. RUNNING: jobs can be
        sent. STOPPED: it is suspended, and holds no pods.
        """

    async def delete(self, name: str, uid: str) -> None:
        """Remove the one of that name that carries that record's mark, and all that was made with it.

        Absent counts as success, and so does one that is another record's or not ours.
        """

    def owned(self) -> AsyncIterator[str]:
        """Yield the uid of all that carries our mark, for the orphan sweep."""

    async def foreign(self) -> Sequence[Foreign]:
        """Return the clusters that others made, by name. Raises Unavailable."""


@runtime_checkable
class Hosting(Protocol):
    """A backend that can make clusters for jobs to share."""

    @property
    def shared(self) -> SharedClusters: ...
