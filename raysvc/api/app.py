"""The main origin: the native REST API, Ray's API, and the pages."""

import asyncio

from fastapi import FastAPI
from starlette.types import ASGIApp

from raysvc.api import health, pages, problem, ray, v1
from raysvc.api.auth import Sessions
from raysvc.api.cluster.upstream import Upstream
from raysvc.api.context import ApiSettings
from raysvc.api.dashboard import dashboard_routes
from raysvc.api.guard import Guard
from raysvc.api.trace import Trace
from raysvc.api.v1 import document
from raysvc.control.platform import Platform

__all__ = ["ApiSettings", "create_app"]


def create_app(platform: Platform, settings: ApiSettings, upstream: Upstream | None = None) -> FastAPI:
    """Return the ASGI app; `upstream` is how it speaks to clusters' own Ray.

    Nothing is opened or started here; the platform is its owner's to start and close. Whoever serves the app sets
    `app.state.stopping` when the server stops, so that streams end and let it.
    """
    app = FastAPI(
        title="raysvc",
        version=settings.version,
        docs_url=None,  # the page that FastAPI has loads its script from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would turn a POST of Ray's client into a GET
    )
    app.state.platform = platform
    app.state.settings = settings
    app.state.sessions = Sessions(settings.session_key, platform.clock)
    app.state.login_limit = pages.LoginLimit(platform.clock)
    app.state.stopping = asyncio.Event()
    app.include_router(v1.submitting)
    app.router.routes.extend(ray.ray_routes(platform, upstream))
    app.router.routes.extend(dashboard_routes(platform))
    app.include_router(v1.router)
    app.include_router(health.router)
    app.include_router(pages.router)
    problem.install(app)
    document.install(app, foreign=ray.paths(), tags=[ray.TAG])

    def guard(inner: ASGIApp) -> Guard:
        return Guard(inner, settings)

    def trace(inner: ASGIApp) -> Trace:
        return Trace(inner, platform.clock, platform.parts.ids)

    # The last that is added is the outermost.
    app.add_middleware(guard)
    app.add_middleware(trace)
    return app
