"""Clusters: where jobs run, and those that a project's jobs share."""

from typing import Any

from raysvc.client.wire import Call, Wire, path_part, read, read_items
from raysvc.domain.cluster import Cluster, Connection, NewCluster, NewScale


class Clusters:
    """Those of a project. Where the server has no Kubernetes, there is one, and what makes others raises Conflict."""

    def __init__(self, wire: Wire, project: str) -> None:
        self._wire = wire
        self._project = project

    def list(self) -> list[Cluster]:
        """Return the clusters that the token sees, those that others made with kubectl among them."""
        return read_items(Cluster, self._wire.send(Call("GET", "/v1/clusters")))

    def get(self, name: str) -> Cluster:
        """Return the cluster; raises NotFound."""
        return read(Cluster, self._wire.send(self._call("GET", name)))

    def create(self, new: NewCluster) -> Cluster:
        """Make a cluster that jobs may name; durable on return. Raises AlreadyExists, Invalid, Conflict."""
        return read(Cluster, self._wire.send(self.creating(new)))

    def creating(self, new: NewCluster) -> Call:
        """Return the call that `create` sends."""
        body = new.model_dump(mode="json", exclude_unset=True)
        return Call("POST", "/v1/clusters", {"project": self._project}, json=body)

    def scale(self, name: str, new: NewScale) -> Cluster:
        """Ask for other bounds of a group of workers. May be repeated. Raises NotFound, Invalid."""
        return read(Cluster, self._wire.send(self.scaling(name, new)))

    def scaling(self, name: str, new: NewScale) -> Call:
        """Return the call that `scale` sends."""
        return self._call("POST", name, "/scale", json=new.model_dump(mode="json"), safe=True)

    def adopt(self, name: str) -> Cluster:
        """Take a cluster that others made. Raises NotFound, AlreadyExists."""
        return read(Cluster, self._wire.send(self.adoption(name)))

    def adoption(self, name: str) -> Call:
        """Return the call that `adopt` sends."""
        return self._call("POST", name, "/adopt")

    def delete(self, name: str, *, force: bool = False) -> Cluster:
        """Wish it gone. May be repeated. Raises Conflict while jobs live on it, unless `force` stops them."""
        return read(Cluster, self._wire.send(self.deletion(name, force=force)))

    def deletion(self, name: str, *, force: bool = False) -> Call:
        """Return the call that `delete` sends."""
        params = {"project": self._project, **({"force": "true"} if force else {})}
        return Call("DELETE", f"/v1/clusters/{path_part(name)}", params, safe=True)

    def connection(self, name: str) -> Connection:
        """Return how Ray's own tools reach it; raises NotFound."""
        return read(Connection, self._wire.send(self._call("GET", name, "/connection")))

    def _call(self, method: str, name: str, verb: str = "", **more: Any) -> Call:
        return Call(method, f"/v1/clusters/{path_part(name)}{verb}", {"project": self._project}, **more)
