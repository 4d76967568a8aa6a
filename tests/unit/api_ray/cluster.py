"""A stand-in for a cluster's Ray dashboard: it answers what it is told, and remembers what it was asked."""

from collections.abc import AsyncIterator
from typing import Any

import httpx

SECRET = "hf_very_secret"
TOKEN = "Bearer fake"


class Ray:
    """An httpx transport. `json` holds the answers by path; `raw` bodies that stream."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.json: dict[str, Any] = {}
        self.raw: dict[str, tuple[dict[str, str], list[bytes]]] = {}
        self.open = 0
        self.away = False
        self.transport = httpx.MockTransport(self._answer)

    @property
    def last(self) -> httpx.Request:
        return self.requests[-1]

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.away:
            raise httpx.ConnectError("refused")
        path = request.url.path
        if path in self.raw:
            headers, chunks = self.raw[path]
            return httpx.Response(200, headers=headers, stream=_Stream(self, chunks))
        if path in self.json:
            return httpx.Response(200, json=self.json[path], headers={"set-cookie": "ray-authentication-token=x"})
        return httpx.Response(404, text=f"no {path}")


class _Stream(httpx.AsyncByteStream):
    def __init__(self, ray: Ray, chunks: list[bytes]) -> None:
        self._ray = ray
        self._chunks = chunks
        ray.open += 1

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    async def aclose(self) -> None:
        self._ray.open -= 1
