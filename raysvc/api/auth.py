"""Who asks: a bearer token in a header, Ray's cookie, or a browser session. A cookie may read and never write."""

import hashlib
import hmac
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import cast

import structlog
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from raysvc.api.context import platform
from raysvc.control.platform import DEFAULT_PROJECT
from raysvc.control.token import hash_secret
from raysvc.domain.access import Principal
from raysvc.errors import Unauthenticated
from raysvc.ports import Clock

SESSION_COOKIE = "raysvc-session"
RAY_COOKIE = "ray-authentication-token"
SESSION_AGE = timedelta(hours=12)

_HELP = (
    "Send a token: `Authorization: Bearer <token>`. `raysvc token create` makes one; the first is in the file "
    "admin-token of the server's data directory. In a browser, log in at /login."
)


class Sessions:
    """Signed browser sessions: a cookie names a token by its hash, which opens nothing as a bearer.

    Nothing is kept for a session, so it outlives a restart and is known to every server with the same key. It ends
    with its token, after 12 hours, or by logging out (which other servers do not hear of).
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = hashlib.sha256(b"raysvc browser session\0" + key).digest()
        self._clock = clock
        self._ended: dict[str, datetime] = {}

    def begin(self, secret: str) -> str:
        """Return the cookie of a new session for the bearer of this token."""
        until = int((self._clock.now() + SESSION_AGE).timestamp())
        body = f"{token_urlsafe(9)}.{until}.{hash_secret(secret)}"
        return f"{body}.{self._sign(body)}"

    def token_hash(self, cookie: str) -> str:
        """Return the hash of the session's token; raises Unauthenticated where the session is over or not ours."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(body).encode()) or body in self._ended:
            raise Unauthenticated("This browser session is not known here. Log in again at /login.")
        _, until, digest = body.split(".")
        if self._clock.now().timestamp() >= int(until):
            raise Unauthenticated("This browser session is over after 12 hours. Log in again at /login.")
        return digest

    def end(self, cookie: str) -> None:
        """End the session of this cookie, where it is one of ours. May be repeated.

        What is not signed is not remembered: it costs nothing to send, and would stay for as long as a session.
        """
        try:
            self.token_hash(cookie)
        except Unauthenticated:
            return
        now = self._clock.now()
        self._ended = {body: until for body, until in self._ended.items() if until > now}
        self._ended[cookie.rpartition(".")[0]] = now + SESSION_AGE

    def _sign(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()


def sessions(connection: HTTPConnection) -> Sessions:
    """Return the browser sessions of this app."""
    return cast("Sessions", connection.app.state.sessions)


async def principal(connection: HTTPConnection) -> Principal:
    """Return who asks; raises Unauthenticated. Headers come before cookies, in the order Ray's own server has."""
    who = await _authenticate(connection)
    structlog.contextvars.bind_contextvars(actor=who.name)
    return who


def home_project(who: Principal) -> str:
    """Return the project meant where none is named: the token's only one, else `default`."""
    return who.projects[0] if len(who.projects) == 1 else DEFAULT_PROJECT


async def _authenticate(connection: HTTPConnection) -> Principal:
    gate = platform(connection).gate
    secret = bearer(connection.headers)
    if secret is not None:
        return await gate.authenticate(secret)
    cookies = connection.cookies
    if SESSION_COOKIE in cookies:
        return await gate.recognise(sessions(connection).token_hash(cookies[SESSION_COOKIE]), browser=True)
    if RAY_COOKIE in cookies:
        return await gate.authenticate(cookies[RAY_COOKIE], browser=True)
    raise Unauthenticated(f"No token came with this request. {_HELP}")


def bearer(headers: Headers) -> str | None:
    """Return the token of `Authorization`, else of `X-Ray-Authorization` (for proxies that use the first themselves).

    Raises Unauthenticated where one of them is there and none is a bearer token.
    """
    values = [value for name in ("authorization", "x-ray-authorization") if (value := headers.get(name))]
    for value in values:
        scheme, _, secret = value.partition(" ")
        if scheme.lower() == "bearer" and secret.strip():
            return secret.strip()
    if values:
        raise Unauthenticated(f"The Authorization header is not a bearer token. {_HELP}")
    return None
