"""Clusters that jobs share, in memory: each is there, asleep, or gone as soon as it is asked for."""

from collections.abc import AsyncIterator, Sequence

from raysvc.domain.cluster import Cluster, ClusterPhase, ClusterSpec, Foreign, SharedCluster
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.rendered import Rendered
from raysvc.errors import Invalid, NotFound, Unavailable


class FakeSharedClusters:
    """Implements `SharedClusters`. `strangers`: clusters that others made, name -> project.

    `deaf`: it does not answer. `making`: heads do not come up. An image named `refused` is refused for good.
    """

    def __init__(self) -> None:
        self.there: dict[str, SharedCluster] = {}
        self.strangers: dict[str, str] = {}
        self.deaf = False
        self.making = False

    def render(self, record: SharedCluster) -> Rendered:
        if record.spec.image == "refused":
            raise Invalid("The fake refuses this image.", field="image")
        body = {"name": record.object_name, "spec": record.spec.model_dump(mode="json"), "awake": record.awake}
        return Rendered(format="http", documents=({"method": "PUT", "path": "/cluster", "body": body},))

    async def apply(self, record: SharedCluster) -> None:
        self._listen()
        self.render(record)
        if record.adopted and record.adopted not in self.strangers and record.adopted not in self.there:
            raise NotFound(f"The fake has no cluster {record.adopted}.")
        self.strangers.pop(record.object_name, None)
        self.there[record.object_name] = record

    async def observe(self, record: SharedCluster) -> Observation:
        if self.deaf:
            return Observation(seen=Seen.UNKNOWN, message="The fake does not answer.")
        found = self.there.get(record.object_name)
        if found is None:
            return Observation(seen=Seen.ABSENT)
        if not found.awake:
            return Observation(seen=Seen.STOPPED)
        return Observation(seen=Seen.PENDING if self.making else Seen.RUNNING)

    async def delete(self, name: str, uid: str) -> None:
        self._listen()
        if name in self.there and self.there[name].uid == uid:
            del self.there[name]

    async def owned(self) -> AsyncIterator[str]:
        self._listen()
        for record in list(self.there.values()):
            yield record.uid

    async def foreign(self) -> Sequence[Foreign]:
        self._listen()
        return [Foreign(cluster=_stranger(*it), spec=ClusterSpec()) for it in sorted(self.strangers.items())]

    def _listen(self) -> None:
        if self.deaf:
            raise Unavailable("The fake does not answer.")


def _stranger(name: str, project: str) -> Cluster:
    return Cluster(name=name, project=project, backend="fake", phase=ClusterPhase.READY, owner="foreign")
