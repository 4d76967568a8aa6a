"""Where each call is found: at the root and under /p/PROJECT, with and without a slash at the end, never redirected.

Ray's client posts to `/api/jobs/`, its OpenAPI file says `/api/jobs`, and a redirect would turn a POST into a GET.
"""

from collections.abc import Iterator

from starlette.routing import BaseRoute, Route, WebSocketRoute

from raysvc.api.cluster.upstream import Upstream
from raysvc.api.plain import Handler, answers
from raysvc.api.ray.job import JobRoutes
from raysvc.api.ray.log import LogRoutes, not_a_socket
from raysvc.api.ray.package import PackageRoutes
from raysvc.api.ray.state import StateRoutes
from raysvc.api.ray.version import VersionRoutes
from raysvc.control.platform import Platform

BASES = ("", "/p/{project}")
_ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")


def ray_routes(platform: Platform, upstream: Upstream | None = None) -> list[BaseRoute]:
    """Return all routes of Ray's API. The app that has them keeps `platform` and `settings` in its state.

    Plain Starlette routes: what FastAPI does around a handler costs 40 µs more, a tenth of a submission.
    """
    client = upstream or Upstream()
    logs = LogRoutes(platform, client)
    routes: list[BaseRoute] = []
    for base in BASES:
        for path, methods, handler in _table(platform, client, logs):
            forms = (path, path.removesuffix("/") if path.endswith("/") else f"{path}/")
            routes += [Route(base + form, answers(handler), methods=methods, include_in_schema=False) for form in forms]
        tail = f"{base}/api/jobs/{{job_id}}/logs/tail"
        routes += [WebSocketRoute(form, logs.tail) for form in (tail, f"{tail}/")]
    return routes


def _table(platform: Platform, client: Upstream, logs: LogRoutes) -> Iterator[tuple[str, tuple[str, ...], Handler]]:
    jobs, packages, versions = JobRoutes(platform, client), PackageRoutes(platform), VersionRoutes(platform)
    state = StateRoutes(platform, client, logs)
    yield "/api/jobs/", ("POST",), jobs.submit
    yield "/api/jobs/", ("GET",), jobs.list
    yield "/api/jobs/{job_id}", ("GET",), jobs.get
    yield "/api/jobs/{job_id}", ("DELETE",), jobs.delete
    yield "/api/jobs/{job_id}/stop", ("POST",), jobs.stop
    yield "/api/jobs/{job_id}/logs", ("GET",), logs.whole
    yield "/api/jobs/{job_id}/logs/tail", ("GET",), not_a_socket
    yield "/api/packages/{protocol}/{name}", ("GET",), packages.get
    yield "/api/packages/{protocol}/{name}", ("PUT",), packages.put
    yield "/api/version", ("GET",), versions.version
    yield "/api/component_activities", ("GET",), versions.activities
    yield "/api/cluster_status", _ANY, state.at("api/cluster_status")
    yield "/api/serve/applications", _ANY, state.at("api/serve/applications/")
    yield "/api/v0/{rest:path}", _ANY, state.at("api/v0/")
    yield "/nodes", _ANY, state.at("nodes")
    yield "/nodes/{rest}", _ANY, state.at("nodes/")
