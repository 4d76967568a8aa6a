"""Node pools, nodes, and where a job would go."""

from collections.abc import Sequence

from raysvc.client.wire import Call, Wire, path_part, read, read_items
from raysvc.domain.inventory import Fit, NewPool, NodeState, PoolState
from raysvc.domain.job import JobSpec
from raysvc.domain.node import Quarantine
from raysvc.domain.pool import Discovery, Pool


class NodePools:
    """What is about nodes raises Conflict where the server has no Kubernetes."""

    def __init__(self, wire: Wire, project: str) -> None:
        self._wire = wire
        self._project = project

    def list(self) -> list[PoolState]:
        """Return the pools that serve a project the token sees, and what is there of them."""
        return read_items(PoolState, self._wire.send(Call("GET", "/v1/pools")))

    def get(self, name: str) -> PoolState:
        """Return the pool; raises NotFound."""
        return read(PoolState, self._wire.send(Call("GET", f"/v1/pools/{path_part(name)}")))

    def apply(self, pools: Sequence[NewPool]) -> Sequence[Pool]:
        """Make or replace pools by their names, all or none. May be repeated. Raises Invalid, Forbidden."""
        return read_items(Pool, self._wire.send(self.applying(pools)))

    def applying(self, pools: Sequence[NewPool]) -> Call:
        """Return the call that `apply` sends."""
        body = {"pools": [pool.model_dump(mode="json", exclude_unset=True) for pool in pools]}
        return Call("POST", "/v1/pools", json=body, safe=True)

    def delete(self, name: str) -> None:
        """Forget a pool; raises NotFound, Forbidden."""
        self._wire.send(self.deletion(name))

    def deletion(self, name: str) -> Call:
        """Return the call that `delete` sends."""
        return Call("DELETE", f"/v1/pools/{path_part(name)}")

    def discover(self) -> Discovery:
        """Return the pools that the cluster's nodes suggest; nothing is kept."""
        return read(Discovery, self._wire.send(Call("GET", "/v1/pools:discover")))

    def fit(self, spec: JobSpec, *, project: str | None = None) -> Fit:
        """Return where a job would go now, or why not; nothing is kept."""
        body = {"spec": spec.model_dump(mode="json")}
        params = {"project": project or self._project}
        return read(Fit, self._wire.send(Call("POST", "/v1/pools:fit", params, json=body, safe=True)))


class Nodes:
    """The nodes of the cluster that the server's jobs run on. For the platform's admin."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> list[NodeState]:
        """Return the nodes: of which pool, whether they get work, and if not, why."""
        return read_items(NodeState, self._wire.send(Call("GET", "/v1/nodes")))

    def quarantine(self, node: str, reason: str) -> Quarantine:
        """Give a node no work until it is released; what runs there runs on. Raises NotFound. May be repeated."""
        return read(Quarantine, self._wire.send(self.quarantining(node, reason)))

    def quarantining(self, node: str, reason: str) -> Call:
        """Return the call that `quarantine` sends."""
        return Call("PUT", f"/v1/nodes/{path_part(node)}/quarantine", json={"reason": reason}, safe=True)

    def release(self, node: str) -> None:
        """End a node's quarantine. May be repeated."""
        self._wire.send(self.releasing(node))

    def releasing(self, node: str) -> Call:
        """Return the call that `release` sends."""
        return Call("DELETE", f"/v1/nodes/{path_part(node)}/quarantine", safe=True)
