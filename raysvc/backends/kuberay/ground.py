"""The machines below: the nodes of the cluster, and what pods ask of them. Implements `Surveyed`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from raysvc.backends.kuberay.discover import discover, node_view, used_by
from raysvc.backends.kuberay.kube import KubeApi
from raysvc.domain.node import NodeView
from raysvc.domain.pool import Discovery
from raysvc.errors import RaysvcError, Unavailable

_NODES, _PODS = "/api/v1/nodes", "/api/v1/pods"
# Nodes come and go by the minute; a desk asks several times in a breath.
_FRESH_S = 5.0
Json = Mapping[str, Any]


class Ground:
    """Lists nodes and pods when asked, and keeps them for some seconds: nothing is watched."""

    def __init__(self) -> None:
        self._kube: KubeApi | None = None
        self._looked: tuple[float, Sequence[Json], Sequence[Json]] | None = None

    def use(self, kube: KubeApi | None) -> None:
        """Say whom to ask; None: nobody any more."""
        self._kube, self._looked = kube, None

    async def nodes(self) -> Sequence[NodeView]:
        """Return the nodes, by name, with what all pods ask of them. Raises Unavailable."""
        nodes, pods = await self._look()
        used = used_by(pods)
        views = (node_view(node, used.get(str(node["metadata"]["name"]))) for node in nodes)
        return sorted(views, key=lambda view: view.name)

    async def discover(self) -> Discovery:
        """Return the pools that the nodes suggest. Raises Unavailable."""
        nodes, _ = await self._look()
        return discover(nodes)

    async def _look(self) -> tuple[Sequence[Json], Sequence[Json]]:
        if self._kube is None:
            raise Unavailable("Kubernetes is not connected yet.")
        now = asyncio.get_running_loop().time()
        if self._looked is None or now - self._looked[0] > _FRESH_S:
            try:
                found = await asyncio.gather(self._kube.must_get(_NODES), self._kube.must_get(_PODS, _BOUND))
            except RaysvcError as error:
                raise Unavailable(f"Nodes and their pods cannot be listed: {error.message}") from error
            nodes, pods = (answer.get("items") or () for answer in found)
            self._looked = now, nodes, pods
        return self._looked[1:]


# Of pods only those that sit on a node and have not ended.
_BOUND = {"fieldSelector": "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"}
