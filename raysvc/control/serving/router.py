"""The proxy's table: which model names lead to which replicas. Every server that has a proxy keeps it in step."""

from collections.abc import Callable, Sequence

import structlog

from raysvc.control.serving.replicas import ReplicaDesk
from raysvc.domain.service import Service, ServicePhase
from raysvc.errors import RaysvcError
from raysvc.ports import Edge, Route, Target

log = structlog.get_logger()

_UNROUTED = frozenset({ServicePhase.STOPPING, ServicePhase.GONE})


def routes(services: Sequence[Service], targets: Callable[[str, int], tuple[Target, ...]]) -> tuple[Route, ...]:
    """Return the whole table. Pure. A service without a replica has a route that leads nowhere: 503, and not 404.

    Where the revision that serves has none left, as while one takes the place of the other on the same GPU, what is
    ready of the wanted one is better than nothing.
    """
    table = []
    for service in services:
        if service.phase not in _UNROUTED:
            found = targets(service.uid, service.serving) if service.serving else ()
            found = found or (targets(service.uid, service.revision) if service.serving else ())
            table.append(Route(service=service.uid, models=service.models, targets=found))
    return tuple(table)


class Router:
    """Tells the proxy of the table when it is another one."""

    def __init__(self, edge: Edge, replicas: ReplicaDesk) -> None:
        self._edge = edge
        self._replicas = replicas
        self._routed: tuple[Route, ...] | None = None

    async def route(self, services: Sequence[Service]) -> None:
        """Bring the proxy in step; a failure is logged and made up for at the next call."""
        table = routes(services, self._replicas.targets)
        if table == self._routed:
            return
        if self._routed is None and not self._replicas.settled and _lacking(services, table):
            return  # a proxy that an earlier server left knows more than we do, until all replicas have reported
        try:
            await self._edge.route(table)
        except RaysvcError as error:
            log.warning("the proxy did not take its table, will be repeated", error=error.message)
        else:
            self._routed = table


def _lacking(services: Sequence[Service], table: Sequence[Route]) -> bool:
    serving = {service.uid for service in services if service.serving and service.spec.replicas.min}
    return any(not route.targets for route in table if route.service in serving)
