"""Node pools and quarantines in memory."""

from collections.abc import Sequence

from raysvc.domain.node import Quarantine
from raysvc.domain.pool import Pool
from raysvc.errors import NotFound
from raysvc.testing.job_store import Gate


class MemoryPools:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._pools: dict[str, Pool] = {}

    async def put(self, pools: Sequence[Pool]) -> None:
        self._gate.check()
        self._pools.update({pool.name: pool for pool in pools})

    async def list(self) -> Sequence[Pool]:
        self._gate.check()
        return [pool for _, pool in sorted(self._pools.items())]

    async def delete(self, name: str) -> None:
        self._gate.check()
        if self._pools.pop(name, None) is None:
            raise NotFound(f"There is no pool {name!r}.")


class MemoryQuarantines:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._found: dict[str, Quarantine] = {}

    async def put(self, found: Quarantine) -> None:
        self._gate.check()
        self._found[found.node] = found

    async def list(self) -> Sequence[Quarantine]:
        self._gate.check()
        return [found for _, found in sorted(self._found.items())]

    async def delete(self, node: str) -> None:
        self._gate.check()
        self._found.pop(node, None)
