"""Clusters, as they are now."""

from raysvc.client.wire import Call, Wire, path_part, read, read_items
from raysvc.domain.cluster import Cluster


class Clusters:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> list[Cluster]:
        """Return the clusters that the token sees."""
        return read_items(Cluster, self._wire.send(Call("GET", "/v1/clusters")))

    def get(self, name: str) -> Cluster:
        """Return the cluster; raises NotFound."""
        return read(Cluster, self._wire.send(Call("GET", f"/v1/clusters/{path_part(name)}")))
