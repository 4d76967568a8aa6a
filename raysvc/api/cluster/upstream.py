"""Talking to a cluster's Ray in somebody's name: what is sent on, what is sent back, and what is never either."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import httpx
from starlette.requests import Request
from starlette.responses import Response

from raysvc.api.cluster.redact import redacted
from raysvc.api.plain import Stream
from raysvc.control.platform import Platform
from raysvc.errors import Invalid, NotFound, Unavailable
from raysvc.ports import Endpoint, Reachable

# Ray judges by these whether a browser asks, and then refuses writes and hides the values of env_vars.
_FORWARDED = (
    "accept",
    "accept-language",
    "if-modified-since",
    "if-none-match",
    "origin",
    "range",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "user-agent",
)
_RETURNED = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
)
CONNECT_S = 3.0
# A profiler answers after as long as it was asked to record, and Ray allows minutes.
READ_S = 330.0
# JSON is read whole, to take secrets out of it; 10,000 tasks with all their details are about 20 MB.
MAX_JSON_BYTES = 128 << 20
SMALL_BYTES = 64 << 10


class Upstream:
    """One HTTP client for all clusters. It keeps no connection open, so there is nothing to close.

    Proxies of the environment are not used: a cluster's token goes to the cluster alone.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, limits=limits)

    async def read(self, endpoint: Endpoint, target: str, *, timeout_s: float = READ_S) -> tuple[int, bytes]:
        """GET `target` (path and query) and return status and body; raises Unavailable."""
        request = self._request("GET", endpoint, target, {}, timeout_s)
        async with aclosing(await self._send(request)) as response:
            return response.status_code, await _whole(response)

    async def relay(self, endpoint: Endpoint, request: Request, path: str) -> Response:
        """Send the request on as GET or HEAD of `path`, and return the answer as it streams in.

        The path has no leading slash and passed an allow-list; the query is the request's. JSON is read whole first,
        and the values of env_vars are taken out. Raises Unavailable.
        """
        headers = {name: value for name in _FORWARDED if (value := request.headers.get(name)) is not None}
        query = request.scope["query_string"].decode("latin-1")
        target = f"/{path}?{query}" if query else f"/{path}"
        response = await self._send(self._request(request.method, endpoint, target, headers))
        kept = {name: value for name in _RETURNED if (value := response.headers.get(name)) is not None}
        if not response.headers.get("content-type", "").startswith("application/json"):
            return Stream(_raw(response), status_code=response.status_code, headers=kept)
        async with aclosing(response):
            body = b"" if request.method == "HEAD" else await _without_secrets(await _whole(response))
        kept = {name: value for name, value in kept.items() if name not in {"content-encoding", "content-length"}}
        return Response(body, status_code=response.status_code, headers=kept)

    def _request(
        self, method: str, endpoint: Endpoint, target: str, headers: Mapping[str, str], read_s: float = READ_S
    ) -> httpx.Request:
        # Where the caller's own headers do not say so, this one tells Ray to answer as it would answer a browser.
        told = {"sec-fetch-mode": "cors", "accept-encoding": "identity", **headers, **endpoint.headers}
        # As bytes: a header of a client's may hold any of Latin-1, and httpx would have ASCII.
        sent = {name.encode(): value.encode("latin-1") for name, value in told.items()}
        timeout = httpx.Timeout(read_s, connect=min(CONNECT_S, read_s), pool=CONNECT_S)
        try:
            return self._client.build_request(method, endpoint.url.rstrip("/") + target, headers=sent, timeout=timeout)
        except httpx.InvalidURL as error:
            raise Invalid(f"The cluster cannot be asked that: {error}.", field="url") from error

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request, stream=True)
        except httpx.HTTPError as error:
            raise Unavailable(f"The cluster's Ray does not answer ({type(error).__name__}). Try again soon.") from error


async def _without_secrets(body: bytes) -> bytes:
    # A large answer takes a second or so; the others must not wait for it.
    return redacted(body) if len(body) < SMALL_BYTES else await asyncio.to_thread(redacted, body)


async def _raw(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async with aclosing(response):
        async for chunk in response.aiter_raw():
            yield chunk


async def endpoint_of(platform: Platform, cluster: str) -> Endpoint:
    """Return where the cluster's Ray answers; raises NotFound, Unavailable."""
    if not isinstance(platform.backend, Reachable):
        raise Unavailable("This backend's clusters cannot be reached over HTTP.")
    try:
        return await platform.backend.endpoint(cluster)
    except NotFound as error:
        raise NotFound(f"There is no cluster {cluster!r}.") from error


async def _whole(response: httpx.Response) -> bytes:
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_JSON_BYTES:
                raise Unavailable("The cluster's answer is too large to take secrets out of it. Ask for less of it.")
    except httpx.HTTPError as error:
        raise Unavailable(f"The cluster's Ray broke off its answer ({type(error).__name__}).") from error
    return bytes(body)
