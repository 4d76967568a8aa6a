"""Following what a job says and what becomes of it, over breaks of the connection."""

import codecs
from collections.abc import Iterator
from dataclasses import replace

from raysvc.client.sse import ServerEvent, events
from raysvc.client.wire import Call, Wire
from raysvc.errors import Unavailable

# A server that is upgraded is back within this time, seconds; then a follower says that it lost it.
PATIENCE_S = 60.0
_WAIT_S = 1.0
_PAGE_BYTES = 1 << 20


class Patience:
    """Waits out a server that has been met and is away for a while, as in an upgrade."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._waited = PATIENCE_S

    def met(self) -> None:
        """Say that the server has just answered."""
        self._waited = 0.0

    def wait(self, cause: Unavailable | None = None) -> None:
        """Block for a second; raises the cause where the server was never met, or is away for too long."""
        if cause is not None and self._waited >= PATIENCE_S:
            raise cause
        self._waited += _WAIT_S
        self._wire.sleep(_WAIT_S)


def follow(wire: Wire, call: Call) -> Iterator[ServerEvent]:
    """Yield the events of an endpoint until the server says `end`, each once.

    A connection that breaks before that is taken up again where it broke. Raises Unavailable where the server does not
    answer at first, or for a minute later on.
    """
    patience, last = Patience(wire), ""
    while True:
        resume = {"Last-Event-ID": last} if last else {}
        cause = None
        try:
            with wire.stream(replace(call, headers={**call.headers, **resume})) as response:
                patience.met()
                for event in events(response.iter_bytes()):
                    if event.kind == "end":
                        return
                    last = event.id or last
                    yield event
        except Unavailable as error:
            cause = error
        patience.wait(cause)


def log_text(wire: Wire, call: Call, *, following: bool) -> Iterator[str]:
    """Yield a log's text from its beginning; with `following`, until the job has ended."""
    if following:
        for event in follow(wire, replace(call, params={**call.params, "follow": "true"})):
            yield event.data["text"]
        return
    # A character that stands on the border of two pages is decoded once both are there.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    offset = call.params.get("offset")
    while True:
        response = wire.send(replace(call, params={**call.params, "offset": offset, "limit": _PAGE_BYTES}))
        yield decoder.decode(response.content, final=not response.content)
        if not response.content:
            return
        offset = int(response.headers["x-next-offset"])
