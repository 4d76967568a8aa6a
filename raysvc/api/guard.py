"""What is refused before any route runs: foreign host names, writes from other sites, and bodies that are too large.

Pure ASGI: nothing here costs a submit more than a few dictionary look-ups.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raysvc.api.context import ApiSettings
from raysvc.api.problem import Fault, respond

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
JSON_LIMIT = 2 << 20
BATCH_LIMIT = 16 << 20
FORM_LIMIT = 8 << 10
# The shelf has a limit of its own for these, and streams them to disk.
_PACKAGES = re.compile(r"(?:/p/[^/]+)?/api/packages/")
_LIMITS = {"/v1/jobs:batch": BATCH_LIMIT, "/login": FORM_LIMIT, "/logout": FORM_LIMIT}
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer: under it a browser says `Origin: null` of our own forms too.
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# A name or an address, and a port: no user, no path, no list.
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,255}))(?::[0-9]{1,5})?")
# What a request says once. Of two, we would believe one and a proxy before us the other.
_ONCE = frozenset({b"host", b"authorization", b"x-ray-authorization", b"x-raysvc-project", b"idempotency-key"})
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Hosts:
    """The names this server answers to. A page of another name that resolves to us (DNS rebinding) gets nothing.

    Any IP address is fine: a browser sends one only if a person or a link named it, and no page owns it by DNS.
    The port is not compared: it changes on its way through `ssh -L` or a container's port mapping.
    """

    def __init__(self, settings: ApiSettings) -> None:
        urls = (settings.url, settings.public_url, settings.dashboard_url)
        bound = [urlsplit(url).hostname for url in urls if url]
        names = {name.lower().rstrip(".") for name in [*settings.allowed_hosts, *bound] if name}
        self._exact = frozenset({"localhost", *(name for name in names if not name.startswith("*."))})
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))

    def allow(self, host: str) -> bool:
        """Return whether this Host header is ours."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = (match["ipv6"] or match["name"]).lower().rstrip(".")
        if name in self._exact or (self._suffixes and name.endswith(self._suffixes)):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.endswith(".localhost")
        return True


class Guard:
    """The middleware. Refusals are problem documents, and plain text on the paths of Ray's API."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._hosts = Hosts(settings)
        self._known: set[str] = set()
        self._public_origin = origin_of(settings.public_url) if settings.public_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        fault = self._refuse(scope, headers)
        if fault is not None and scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": fault.detail[:120]})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(message)
            await send(message)

        if fault is not None:
            await respond(fault, scope)(scope, receive, with_headers)
            return
        await self._app(scope, _limited(scope, headers, receive), with_headers)

    def _refuse(self, scope: Scope, headers: Headers) -> Fault | None:
        if (unclear := ambiguous(scope)) is not None:
            return unclear
        host = headers.get("host", "")
        if host not in self._known:
            if not self._hosts.allow(host):
                detail = (
                    f"This server does not answer to the name {host[:100]!r}. Use the URL that `raysvc up` printed, or "
                    "start it with `--allowed-host NAME` (or `--public-url URL` behind an ingress)."
                )
                return Fault(421, "misdirected", detail)
            if len(self._known) < 100:  # noqa: PLR2004 a cache, not a rule
                self._known.add(host)
        if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
            return Fault(400, "invalid", "The URL holds a NUL character.", "url")
        if (scope["type"] == "websocket" or scope["method"] not in SAFE) and self._foreign(scope, headers, host):
            detail = "The browser says that another site makes this request. Log in here and use this site's own pages."
            return Fault(403, "cross_site", detail)
        limit, length = _limit(scope["path"]), headers.get("content-length", "")
        if limit is not None and length.isdecimal() and int(length) > limit:
            return Fault(413, "too_large", _too_large(limit))
        return None

    def _foreign(self, scope: Scope, headers: Headers, host: str) -> bool:
        """Return whether a browser says that another site is behind a write. Programs say nothing of the kind."""
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return True
        origin = headers.get("origin")
        if origin is None:
            return False
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        theirs = origin_of(origin)
        return theirs is None or theirs not in {origin_of(f"{scheme}://{host}"), self._public_origin}


def ambiguous(scope: Scope) -> Fault | None:
    """Return what to say of a request whose headers can be read in two ways; None for a clear one."""
    seen = set()
    for name, value in scope["headers"]:
        if name in _ONCE:
            if name in seen:
                return Fault(400, "invalid", f"The request has two headers {name.decode()!r}. Send one.", name.decode())
            seen.add(name)
        elif name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            return Fault(400, "invalid", "Bodies are taken as they are or chunked.", "transfer-encoding")
    return None


def origin_of(url: str) -> tuple[str, str, int] | None:
    """Return (scheme, host, port) of a URL; None where it has none, as `null` has."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and port else None


def _limit(path: str) -> int | None:
    if _PACKAGES.match(path):
        return None
    return _LIMITS.get(path, JSON_LIMIT)


def _too_large(limit: int) -> str:
    return f"The body is larger than {limit >> 10} KiB, the most this path takes."


def _limited(scope: Scope, headers: Headers, receive: Receive) -> Receive:
    """Return `receive`, counting: a chunked body says no length beforehand."""
    limit = _limit(scope["path"])
    if limit is None or "transfer-encoding" not in headers:
        return receive
    most, seen = limit, 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise HTTPException(413, _too_large(most))
        return message

    return counting


def _add(message: Message) -> None:
    """Put our headers to a reply's own, which come first."""
    present = {name for name, _ in message["headers"]}
    message["headers"] = [*message["headers"], *(header for header in _HEADERS if header[0] not in present)]
