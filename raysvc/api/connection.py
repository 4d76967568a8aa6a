"""One HTTP connection: how long it is waited for, how much it may say, and whether there is room for it."""

import asyncio
from enum import Enum, auto
from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raysvc.api import room

# A client that has not sent its headers by then holds a connection for nothing.
HEADER_S = 20.0
# Nor has one whose body comes more slowly than this, looked at so often.
BODY_S = 60.0
LEAST_BYTES_PER_S = 1024
MAX_HEADER_BYTES = 64 << 10


class _Part(Enum):
    """What of a request is still to come."""

    HEADERS = auto()
    BODY = auto()
    NOTHING = auto()


class GuardedProtocol(HttpToolsProtocol):
    """HTTP that does not wait for ever: headers must be whole in HEADER_S, and a body must come on in each BODY_S.

    Headers have an end in bytes, too, and connections in number: one too many costs the place of the one that has been
    owing a request for the longest. httptools and uvicorn know none of the four.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_bytes = 0
        self._body_bytes = 0
        self._awaits = _Part.HEADERS
        self._timer: asyncio.TimerHandle | None = None
        self.idle_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = monotonic()
        self._timer = self.loop.call_later(HEADER_S, self._late)
        if len(self.connections) > room.most_connections():
            (room.longest_idle(self.connections) or self).drop()

    def drop(self) -> None:
        """Close at once. Nothing of an answer is lost: none is due."""
        self.idle_since = None
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._awaits is _Part.HEADERS:
            # From the first byte on: each further one buys no time.
            self._timer = self._timer or self.loop.call_later(HEADER_S, self._late)
            return
        if self._awaits is _Part.BODY:
            self._body_bytes += len(data)
            self._timer = self._timer or self.loop.call_later(BODY_S, self._late)
        else:
            self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._header_bytes = 0
        self._awaits = _Part.HEADERS
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.url.startswith((b"/", b"*")) and not self._names_us(self.url):
            raise ValueError("an absolute URL of another host than Host's")  # the parser makes a 400 of it
        self._awaits = _Part.BODY
        self.idle_since = None
        self._stop_timer()
        self._body_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._awaits = _Part.NOTHING
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("headers too large")  # the parser makes a 400 of it

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._awaits is _Part.NOTHING and self.cycle.response_complete:
            self.idle_since = monotonic()

    def _names_us(self, url: bytes) -> bool:
        """Return whether the absolute URL of a request line is of the host that Host names, as RFC 9112 has it."""
        host = dict(self.headers).get(b"host", b"")
        return url.lower().startswith((b"http://" + host.lower() + b"/", b"https://" + host.lower() + b"/"))

    def _late(self) -> None:
        self._timer = None
        # Where reading is paused, it is we who do not read: the app has not taken what came before.
        comes_on = self.flow.read_paused or self._body_bytes >= BODY_S * LEAST_BYTES_PER_S
        if self._awaits is _Part.BODY and comes_on:
            self._body_bytes = 0
            self._timer = self.loop.call_later(BODY_S, self._late)
        else:
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
