"""The dashboards' origin: each cluster's Ray dashboard below /clusters/NAME/, to look at and not to touch.

It has a port of its own because what a dashboard shows is partly the work of the jobs: content that a job controls
must not share an origin with our API. Two clusters' dashboards do share one.
"""

from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from raysvc.api.auth import bearer
from raysvc.api.cluster.allow import Access, dashboard_access
from raysvc.api.cluster.share import Sharing
from raysvc.api.cluster.upstream import Upstream, endpoint_of
from raysvc.api.context import ApiSettings, header
from raysvc.api.dashboard.door import SESSION_AGE, Door
from raysvc.api.guard import Hosts, ambiguous
from raysvc.api.plain import Handler, answers
from raysvc.control.platform import Platform
from raysvc.domain.access import Principal, Verb, authorise
from raysvc.errors import NotFound, Unauthenticated

# Ray's UI brings all it needs; it sets styles from script, and frames Grafana where a cluster has one.
UI_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "frame-src 'self' http: https:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# What a profiler draws may run its own script, in an origin of nobody's.
PROFILE_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
# Everything else is data: opened as a page it is nothing.
DATA_POLICY = "sandbox; default-src 'none'"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Dashboards:
    """Checks who asks, then passes GET and HEAD of allowed paths on to the cluster, under the cluster's own token."""

    def __init__(self, platform: Platform, settings: ApiSettings, upstream: Upstream) -> None:
        self._platform = platform
        self._settings = settings
        self._upstream = upstream
        self._door = Door(settings.session_key, platform.clock, platform.parts.ids)
        self._sharing = Sharing(platform)
        address = urlsplit(settings.dashboard_url)
        self._secure = address.scheme == "https"
        # Cookies do not know ports: two deployments on one machine must not take each other's.
        self._cookie = f"raysvc-dashboard-{address.port or address.scheme}"

    async def page(self, request: Request) -> Response:
        """Answer any request below /clusters/NAME/."""
        cluster, path = request.path_params["cluster"], request.path_params["path"]
        if request.method not in {"GET", "HEAD"}:
            text = "Dashboards are read-only here: GET and HEAD alone pass. Use `raysvc` or `ray job` to change things."
            return PlainTextResponse(text, status_code=405, headers={"Allow": "GET, HEAD"})
        if path == "" and "ticket" in request.query_params:
            return self._enter(cluster, request.query_params["ticket"])
        access = dashboard_access(path)
        if access is None:
            return PlainTextResponse("This path of Ray's dashboard does not pass here.", status_code=404)
        await check_visible(self._platform, self._sharing, await self._principal(request, cluster), cluster, access)
        if path == "api/authentication_mode":
            # The cluster's token stays on this side; to the UI there is none to ask for.
            return JSONResponse({"authentication_mode": "disabled"})
        endpoint = await endpoint_of(self._platform, cluster)
        return await self._upstream.relay(endpoint, request, path)

    def _enter(self, cluster: str, ticket: str) -> Response:
        session = self._door.swap(ticket, cluster)
        path = f"/clusters/{cluster}/"
        response = RedirectResponse(path, status_code=303)
        age = int(SESSION_AGE.total_seconds())
        response.set_cookie(
            self._cookie, session, max_age=age, path=path, secure=self._secure, httponly=True, samesite="lax"
        )
        return response

    async def _principal(self, request: Request, cluster: str) -> Principal:
        secret = bearer(request.headers)
        if secret is not None:
            return await self._platform.gate.authenticate(secret)
        session = request.cookies.get(self._cookie)
        if session is None:
            main = self._settings.public_url or self._settings.url
            raise Unauthenticated(f"Open this dashboard by {main}/dashboards/{cluster}, or send a bearer token.")
        digest = self._door.token_hash(session, cluster)
        return await self._platform.gate.recognise(digest, browser=True)


async def check_visible(
    platform: Platform, sharing: Sharing, who: Principal, cluster: str, access: Access = Access.READ
) -> None:
    """Return where `who` may see this part of the cluster's dashboard.

    Raises NotFound (also for a cluster of a project that `who` cannot see), Forbidden with the reason.
    """
    try:
        found = await platform.backend.clusters.get(cluster)
        authorise(who, Verb.READ, access.resource, found.project)
    except NotFound as error:
        raise NotFound(f"There is no cluster {cluster[:63]!r} for this token.") from error
    await sharing.check(who, cluster, access)


def create_dashboard(platform: Platform, settings: ApiSettings, upstream: Upstream | None = None) -> Starlette:
    """Return the ASGI app of the dashboards' origin."""
    dashboards = Dashboards(platform, settings, upstream or Upstream())
    app = Starlette(
        routes=[
            Route("/clusters/{cluster}", _with_slash),
            Route("/clusters/{cluster}/{path:path}", _guarded(answers(dashboards.page)), methods=_METHODS),
            Route("/{path:path}", _elsewhere),
        ],
        middleware=[Middleware(_OwnNames, hosts=Hosts(settings))],
    )
    app.state.platform = platform
    app.state.settings = settings
    return app


class _OwnNames:
    """Answers to this server's names alone, and to requests that can be read in one way only, as the main origin does.

    A page that has its own name resolve to us (DNS rebinding) would have no session here; it gets nothing at all.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            unclear = ambiguous(scope)
            if unclear is not None:
                await PlainTextResponse(unclear.detail, unclear.status)(scope, receive, send)
                return
            if not self._hosts.allow(header(scope, b"host") or ""):
                await PlainTextResponse("This server does not answer to that name.", 421)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _guarded(handler: Handler) -> Handler:
    async def guard(request: Request) -> Response:
        response = await handler(request)
        path = request.path_params["path"]
        access = dashboard_access(path)
        policy = UI_POLICY if path == "" else PROFILE_POLICY if access is Access.PROFILE else DATA_POLICY
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if not path.startswith("static/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    return guard


async def _with_slash(request: Request) -> Response:
    # Ray's UI asks for everything relative to its own folder.
    query = request.url.query
    return RedirectResponse(f"/clusters/{request.path_params['cluster']}/{'?' + query if query else ''}")


async def _elsewhere(_request: Request) -> Response:
    return PlainTextResponse("Dashboards are at /clusters/NAME/; the main page links to them.", status_code=404)
