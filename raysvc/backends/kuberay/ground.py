"""The machines below: the nodes of the cluster, and what pods ask of them. Implements `Surveyed`."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from raysvc.backends.kuberay.discover import discover, node_view
from raysvc.backends.kuberay.kube import KubeApi
from raysvc.backends.kuberay.usage import tenants_of, used_by
from raysvc.domain.node import NodeView
from raysvc.domain.placement import HEAD
from raysvc.domain.pool import Discovery
from raysvc.domain.resources import Resources
from raysvc.errors import RaysvcError, Unavailable

_NODES, _PODS = "/api/v1/nodes", "/api/v1/pods"
# Nodes come and go by the minute; a desk asks several times in a breath.
_FRESH_S = 5.0
Json = Mapping[str, Any]


class Ground:
    """Lists nodes and pods when asked, and keeps them for some seconds: nothing is watched.

    `instance`: whose pods are told apart; `head`: what the head of each cluster takes.
    """

    def __init__(self, instance: str = "", head: Resources = HEAD) -> None:
        self._instance = instance
        self.head = head
        self._kube: KubeApi | None = None
        self._looked: tuple[float, Sequence[Json], Sequence[NodeView]] | None = None

    def use(self, kube: KubeApi | None) -> None:
        """Say whom to ask; None: nobody any more."""
        self._kube, self._looked = kube, None

    async def nodes(self) -> Sequence[NodeView]:
        """Return the nodes, by name, with what all pods ask of them. Raises Unavailable."""
        _, views = await self._look()
        return views

    async def discover(self) -> Discovery:
        """Return the pools that the nodes suggest. Raises Unavailable."""
        nodes, _ = await self._look()
        return discover(nodes)

    async def _look(self) -> tuple[Sequence[Json], Sequence[NodeView]]:
        if self._kube is None:
            raise Unavailable("Kubernetes is not connected yet.")
        now = asyncio.get_running_loop().time()
        if self._looked is None or now - self._looked[0] > _FRESH_S:
            try:
                found = await asyncio.gather(self._kube.must_get(_NODES), self._kube.must_get(_PODS, _BOUND))
            except RaysvcError as error:
                raise Unavailable(f"Nodes and their pods cannot be listed: {error.message}") from error
            nodes, pods = (answer.get("items") or () for answer in found)
            self._looked = now, nodes, self._views(nodes, pods)
        return self._looked[1:]

    def _views(self, nodes: Sequence[Json], pods: Sequence[Json]) -> Sequence[NodeView]:
        used, tenants = used_by(pods), tenants_of(pods, self._instance)
        names = [str(node["metadata"]["name"]) for node in nodes]
        views = (node_view(node, used.get(name), tenants.get(name)) for node, name in zip(nodes, names, strict=True))
        return sorted(views, key=lambda view: view.name)


# Of pods only those that sit on a node and have not ended.
_BOUND = {"fieldSelector": "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"}
