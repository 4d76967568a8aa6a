"""Somebody who uses the API with a token of one project."""

from collections.abc import Mapping
from typing import Any

import httpx

from tests.isolation.place import PACKAGE, Place


class Tenant:
    """Somebody with a token of one project."""

    def __init__(self, place: Place, project: str, headers: Mapping[str, str]) -> None:
        self.place, self.project, self.headers = place, project, headers

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        return await self.place.ask(self.place.front, method, path, headers, **options)

    async def upload(self, content: bytes, name: str = PACKAGE) -> httpx.Response:
        return await self.ask("PUT", f"/api/packages/gcs/{name}", content=content)
