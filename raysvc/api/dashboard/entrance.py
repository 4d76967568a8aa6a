"""The main origin's way to the dashboards: a link that swaps this origin's session for one over there."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from raysvc.api.auth import SESSION_COOKIE, bearer, principal, sessions
from raysvc.api.cluster.share import Sharing
from raysvc.api.context import settings
from raysvc.api.dashboard.app import check_visible
from raysvc.api.dashboard.door import Door
from raysvc.api.plain import answers
from raysvc.control.platform import Platform
from raysvc.control.token import hash_secret
from raysvc.errors import Unauthenticated


class Entrance:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._sharing = Sharing(platform)

    async def enter(self, request: Request) -> Response:
        """Send a browser with a session on to the cluster's dashboard; one without to /login, and then back here."""
        cluster = request.path_params["cluster"]
        try:
            who = await principal(request)
        except Unauthenticated:
            return RedirectResponse(f"/login?next={quote(f'/dashboards/{cluster}')}", status_code=303)
        await check_visible(self._platform, self._sharing, who, cluster)
        door = Door(settings(request).session_key, self._platform.clock, self._platform.parts.ids)
        ticket = door.ticket(cluster, _token_hash(request))
        response = RedirectResponse(
            f"{settings(request).dashboard_url}/clusters/{cluster}/?ticket={quote(ticket)}", status_code=303
        )
        response.headers["Cache-Control"] = "no-store"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def dashboard_routes(platform: Platform) -> list[Route]:
    """Return the main origin's routes to the dashboards."""
    return [Route("/dashboards/{cluster}", answers(Entrance(platform).enter), name="dashboard")]


def _token_hash(request: Request) -> str:
    """Return the hash of the token that `principal` recognised; raises Unauthenticated for Ray's own cookie."""
    secret = bearer(request.headers)
    if secret is not None:
        return hash_secret(secret)
    return sessions(request).token_hash(request.cookies.get(SESSION_COOKIE, ""))
