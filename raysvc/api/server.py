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
from pathlib import Path
from typing import Self

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from raysvc.api import room
from raysvc.api.connection import GuardedProtocol
from raysvc.errors import Conflict, Invalid

log = structlog.get_logger()

BACKLOG = 2048
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
        room.raise_limit()
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
            # Whoever reaches us could forge these headers; where a proxy stands before us, --public-url says so.
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            # asyncio accepts so many at once, before the first of them can be counted.
            backlog=min(BACKLOG, room.most_connections() // 2),
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
        bound = socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise _unbound(error, host, port, option) from error
    # Inherited by what is accepted. asyncio sets it only where `proto` is given, which create_server leaves out: the
    # second write of a reply then waits 40 ms for the client's delayed acknowledgement of the first.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


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
