"""The API server, spoken to in plain JSON. Its refusals come out as our errors, in words that say what to do."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
import httpx
from kubernetes.aio.client import ApiClient, ApiException, Configuration

from raysvc.errors import AlreadyExists, Invalid, NotFound, Unavailable

TIMEOUT_S = 15.0
# The server ends a watch after this long, and says where it was; a connection on which nothing has come for longer
# than that, not even a bookmark (one a minute), is dead.
WATCH_S = 300
SILENT_S = 150.0
FIELD_MANAGER = "raysvc"
_OLDER = "The KubeRay there is too old: raysvc needs 1.6 or newer, CRDs and operator."
Json = dict[str, Any]


class Gone(Exception):
    """What a watch would go on from is no longer there (410): list again."""


class KubeApi:
    """Every method raises Unavailable where the API server does not answer, Invalid where it refuses for good."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._client: Any = ApiClient(configuration)  # its methods are not typed
        self.url = str(configuration.host).rstrip("/")

    async def close(self) -> None:
        await self._client.close()

    @property
    def tls(self) -> ssl.SSLContext:
        """What proves the server to us, and where certificates are used, us to the server."""
        context: ssl.SSLContext = self._client.rest_client.ssl_context
        return context

    async def headers(self) -> dict[str, str]:
        """Return what says to the server who we are, refreshed where it must be. A secret."""
        setting = (await self._configuration.auth_settings()).get("BearerToken")
        value = setting.get("value") if setting else None
        return {"authorization": str(value)} if value else {}

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json | None:
        """Return the object; None where there is none."""
        try:
            return await self._call("GET", path, query)
        except NotFound:
            return None

    async def must_get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """Return the object. Raises NotFound."""
        return await self._call("GET", path, query)

    async def create(self, path: str, body: Json, *, dry_run: bool = False) -> Json:
        """Create an object; a field that the server does not know is refused, not dropped. Raises AlreadyExists.

        With `dry_run` all is checked, and nothing is made.
        """
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return await self._call("POST", path, query, body)

    async def put(self, path: str, body: Json) -> Json:
        return await self._call("PUT", path, {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}, body)

    async def patch(self, path: str, operations: Sequence[Json]) -> Json:
        """Apply a JSON Patch. Raises NotFound; Invalid where a `test` in it fails."""
        return await self._call("PATCH", path, {"fieldManager": FIELD_MANAGER}, list(operations))

    async def delete(self, path: str) -> None:
        """Delete an object and, in the background, what it owns. Absent counts as success."""
        try:
            await self._call("DELETE", path, {"propagationPolicy": "Background"})
        except NotFound:
            return

    async def watch(self, path: str, query: Mapping[str, str], version: str) -> AsyncGenerator[Json, None]:
        """Yield what becomes of the objects after that version, until the server ends it. Raises Gone."""
        more = {"watch": "1", "allowWatchBookmarks": "1", "timeoutSeconds": str(WATCH_S), "resourceVersion": version}
        async with self._answer("GET", path, {**query, **more}, None, WATCH_S + SILENT_S) as response:
            while True:
                async with asyncio.timeout(SILENT_S):
                    line = await response.content.readline()
                if not line:
                    return
                event = _object(line)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    if status.get("code") == httpx.codes.GONE:
                        raise Gone
                    raise Unavailable(f"The watch of {path} was ended: {status.get('message')}")
                yield event

    async def _call(self, method: str, path: str, query: Mapping[str, str] | None, body: Any = None) -> Json:
        async with self._answer(method, path, query, body, TIMEOUT_S) as response:
            return _object(await response.read())

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, timeout_s: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield an answer that is a success. Raises as the class says, NotFound, AlreadyExists, and Gone."""
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"Content-Type": "application/json-patch+json" if method == "PATCH" else "application/json"}
        try:
            sent |= await self.headers()
            wrapped = await self._client.rest_client.request(
                method, url, headers=sent, body=body, _request_timeout=timeout_s
            )
            async with wrapped.response as response:
                if response.status >= httpx.codes.BAD_REQUEST:
                    raise refusal(method, path, response.status, await response.text(errors="replace"))
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError, ApiException) as error:
            why = str(error) or type(error).__name__
            raise Unavailable(f"Kubernetes at {self.url} does not answer: {why}") from error


class ThroughServer(httpx.Auth):
    """Says to the API server who we are, on the way through its proxy to a pod. It keeps these headers to itself."""

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube

    async def async_auth_flow(self, request: httpx.Request) -> Any:
        request.headers.update(await self._kube.headers())
        yield request


def refusal(method: str, path: str, status: int, text: str) -> Exception:  # noqa: PLR0911 a table
    """Return the error that says what the API server refused, and what to do."""
    message = _message(text)
    match status:
        case 404:
            return NotFound(f"{path}: {message}")
        case 409 if method == "POST":
            return AlreadyExists(message)
        case 410:
            return Gone()
        case 401:
            return Unavailable("Kubernetes does not know us any more (401). Log in again, or renew the kubeconfig.")
        case 403 if _is_right(message):
            return Unavailable(f"raysvc lacks a right: {message} `raysvc doctor --kube` lists those that it needs.")
        case 400 | 403 | 422:
            # A quota, an admission webhook, a field that an older CRD does not have: said by whoever refused.
            older = f" {_OLDER}" if 'unknown field "spec.' in message else ""
            return Invalid(f"Kubernetes refused it: {message}{older}")
        case _:
            return Unavailable(f"Kubernetes answered {status} to {method} {path}: {message}")


def _is_right(message: str) -> bool:
    """Tell RBAC's refusal, which granting a right mends, from that of an admission plugin."""
    return " cannot " in message and "is forbidden: User " in message


def _message(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        return text.strip()[:500]
    return str(found.get("message") or text)[:2000] if isinstance(found, dict) else text[:500]


def _object(line: bytes) -> Json:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise Unavailable("What answers is not Kubernetes: it sent no JSON.") from error
    if not isinstance(found, dict):
        raise Unavailable(f"What answers is not Kubernetes: it sent a {type(found).__name__}.")
    return found
