"""A request's id, its one line in our log, and the last resort where a request fails as nobody foresaw.

The line has the path without its query: a query may hold what opens something.
"""

import re
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, unbind_contextvars

from raysvc.api import problem
from raysvc.api.context import header
from raysvc.ports import Clock, Ids

log = structlog.get_logger()

_GIVEN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# Probes and replicas come every few seconds and say nothing.
_QUIET = frozenset({"/healthz", "/readyz", "/v1/replicas/report"})
_CLIENT_GONE = 499


class Trace:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, clock: Clock, ids: Ids) -> None:
        self._app = app
        self._clock = clock
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = header(scope, b"x-request-id") or ""
        request_id = given if _GIVEN.fullmatch(given) else self._ids.uid(self._clock.now())
        scope[problem.REQUEST_ID] = request_id
        began, status = perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                others = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
                message["headers"] = [*others, (b"x-request-id", request_id.encode())]
            elif message["type"] in {"websocket.accept", "websocket.close"}:
                status = status or (101 if message["type"] == "websocket.accept" else 403)
            await send(message)

        bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            status = _CLIENT_GONE
        except Exception:
            log.exception("request failed", path=scope["path"])
            if scope["type"] == "websocket" or status:
                raise  # too late for a reply: the server cuts the connection, which no client takes for success
            await problem.respond(problem.internal(), scope)(scope, receive, noting)
        finally:
            if scope["path"] not in _QUIET or status >= 400:  # noqa: PLR2004 HTTP errors begin at 400
                log.info(
                    "request",
                    method=scope.get("method", "WEBSOCKET"),
                    path=scope["path"],
                    status=status,
                    ms=round((perf_counter() - began) * 1000, 2),
                    client=(scope.get("client") or ("",))[0],
                )
            unbind_contextvars("request_id", "actor", "job_id")
