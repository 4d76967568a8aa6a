"""A driver's output on another machine, by byte offset. Ray's API has no offset: each look fetches it whole."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from raysvc.backends.rayjob.api import RayApi
from raysvc.domain.job import JobRef
from raysvc.ports import Clock

_POLL_S = 1.0

Ended = Callable[[], Awaitable[bool]]


def log_name(ref: JobRef) -> str:
    """Return the name of an attempt's driver log (JOB_LOGS_PATH_TEMPLATE in ray/dashboard/modules/job/common.py)."""
    return f"job-driver-{ref.name}.log"


class RestLog:
    """An attempt's log. `source` gives the Ray that has it, or None while, or since, there is none."""

    def __init__(self, source: Callable[[], Awaitable[RayApi | None]], ref: JobRef, clock: Clock) -> None:
        self._source = source
        self._ref = ref
        self._clock = clock

    async def read(self, offset: int, ended: Ended | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset`; with `ended`, those that come too, until it has ended and all is read.

        Raises Unavailable.
        """
        over = ended is None
        while True:
            position = 0
            async with aclosing(self._fetch()) as chunks:
                async for chunk in chunks:
                    position += len(chunk)
                    if position > offset:
                        fresh = chunk[offset - position :]
                        offset = position
                        yield fresh
            if over or ended is None:
                return
            over = await ended()
            await self._clock.sleep(_POLL_S)

    async def _fetch(self) -> AsyncGenerator[bytes, None]:
        api = await self._source()
        if api is None:
            return
        record = await api.job(self._ref.name) or {}
        node = record.get("driver_node_id") or await self._head(api)
        if node is None:
            return
        async with aclosing(api.log_file(node, log_name(self._ref))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _head(self, api: RayApi) -> str | None:
        """Return the node that a driver writes on which Ray has not placed yet, or could not."""
        return next((str(node["node_id"]) for node in await api.nodes() if node.get("is_head_node")), None)
