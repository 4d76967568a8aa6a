"""Two uvicorn servers in one loop: the API, and the dashboards' origin.

Both sockets are bound before anything else starts, so that a port in use is found out first and `--port 0` has its
number. Signals are the caller's.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Self

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from raysvc.errors import Conflict, Invalid

log = structlog.get_logger()

BACKLOG = 2048
# A client that has not sent its headers by then holds a connection for nothing.
HEADER_S = 20.0
# Nor has one whose upload stands still this long.
BODY_S = 60.0
MAX_HEADER_BYTES = 64 << 10
# Ray's client opens a connection a call; browsers and SDKs keep theirs.
KEEP_ALIVE_S = 75
# Below the idle timeout of ingresses (60 s is usual).
PING_S = 20.0
# What clients send on a WebSocket is nothing but control frames.
MAX_INCOMING_BYTES = 64 << 10
# Requests in flight may end; what follows a log is cut off then.
GRACE_S = 5


class TailProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that never says "the end" when it is not.

    Ray's client takes any close code for success and only a dropped connection for an error, so where uvicorn would
    send 1011 or 1012 this drops the connection.
    """

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.stop_keepalive()
            self.transport.abort()
        else:
            super().shutdown()


class _Part(Enum):
    """What of a request is still to come."""

    HEADERS = auto()
    BODY = auto()
    NOTHING = auto()


class GuardedProtocol(HttpToolsProtocol):
    """HTTP that does not wait for ever: headers must be whole in HEADER_S, and a body may not stand still for BODY_S.

    Headers have an end in bytes, too. httptools and uvicorn know none of the three.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_bytes = 0
        self._awaits = _Part.HEADERS
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADER_S, self._late)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._awaits is _Part.HEADERS:
            # From the first byte on: each further one buys no time.
            self._timer = self._timer or self.loop.call_later(HEADER_S, self._late)
            return
        self._stop_timer()
        if self._awaits is _Part.BODY:
            self._timer = self.loop.call_later(BODY_S, self._late)

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
        self._awaits = _Part.BODY
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._awaits = _Part.NOTHING
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise ValueError("headers too large")  # the parser makes a 400 of it

    def _late(self) -> None:
        self._timer = None
        if self._awaits is _Part.BODY and self.flow.read_paused:
            # It is we who do not read: the app has not taken what came before.
            self._timer = self.loop.call_later(BODY_S, self._late)
        else:
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Server(uvicorn.Server):
    """One uvicorn server that leaves signals alone and says when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serving.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # What was cancelled for being late still has its own cleaning up to do, before the platform goes.
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=1)


@dataclass(frozen=True)
class Tls:
    """A certificate (with its chain) and its key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Listeners:
    """The two bound sockets. `serve` takes them over; who does not call it closes them."""

    main: socket.socket
    dashboard: socket.socket
    tls: Tls | None = None

    @classmethod
    def bind(cls, host: str, port: int, dashboard_port: int, *, tls: Tls | None = None) -> Self:
        """Take both ports (0: a free one). Raises Conflict for a port in use, Invalid for an address that is not ours.

        Connections are queued from now on, and answered when `serve` is called.
        """
        main = _bind(host, port, "--port")
        try:
            return cls(main, _bind(host, dashboard_port, "--dashboard-port"), tls)
        except BaseException:
            main.close()
            raise

    @property
    def url(self) -> str:
        return self._url(self.main)

    @property
    def dashboard_url(self) -> str:
        return self._url(self.dashboard)

    async def serve(
        self, app: ASGIApp, dashboard: ASGIApp, stop: asyncio.Event, *, on_ready: Callable[[], None]
    ) -> None:
        """Serve both apps until `stop` is set; `on_ready` is called once, when both answer.

        Then requests in flight have GRACE_S seconds to end. Log tails are dropped at once, without a close frame.
        """
        servers = [_Server(self._config(app)), _Server(self._config(dashboard))]
        sockets = (self.main, self.dashboard)
        async with asyncio.TaskGroup() as group:
            for server, bound in zip(servers, sockets, strict=True):
                group.create_task(server.serve([bound]))
            try:
                for server in servers:
                    await server.serving.wait()
                on_ready()
                await stop.wait()
            finally:
                for served in (app, dashboard):
                    _end_streams(served)
                for server in servers:
                    server.should_exit = True

    def close(self) -> None:
        """Give the ports back. May be repeated."""
        self.main.close()
        self.dashboard.close()

    def _url(self, bound: socket.socket) -> str:
        host, port = bound.getsockname()[:2]
        # An address of "everywhere" is none that a client can use; this machine always can use its loopback.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 a comparison
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"

    def _config(self, app: ASGIApp) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http=GuardedProtocol,
            ws=TailProtocol,
            ws_max_size=MAX_INCOMING_BYTES,
            ws_ping_interval=PING_S,
            # No deadline for the pong: a reader that is slow (`ray job logs -f | less`) is not gone, and uvicorn would
            # send it a close code, which looks like success. TCP itself notices a peer that is gone.
            ws_ping_timeout=None,
            ws_per_message_deflate=False,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            backlog=BACKLOG,
            ssl_certfile=self.tls.certificate if self.tls else None,
            ssl_keyfile=self.tls.key if self.tls else None,
        )


def _end_streams(app: ASGIApp) -> None:
    """Let event streams that watch the app's `stopping` end by themselves."""
    stopping = getattr(getattr(app, "state", None), "stopping", None)
    if isinstance(stopping, asyncio.Event):
        stopping.set()


def _bind(host: str, port: int, option: str) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise Invalid(f"--host {host} is not an address of this machine: {error.strerror}.", field="host") from error
    try:
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise _unbound(error, host, port, option) from error


def _unbound(error: OSError, host: str, port: int, option: str) -> Conflict | Invalid:
    field = option.lstrip("-").replace("-", "_")
    match error.errno:
        case errno.EADDRINUSE:
            return Conflict(
                f"Port {port} of {host} is in use. Stop what listens there, or give another with {option} (0: a free "
                "one).",
                field=field,
            )
        case errno.EACCES:
            return Invalid(f"{option} {port}: this user may not listen there. Ports below 1024 take root.", field=field)
        case _:
            return Invalid(f"Cannot listen on {host}, port {port} ({option}): {error.strerror}.", field=field)
