"""/login swaps a token for a session of this browser, which may read; /logout ends it."""

from collections import defaultdict, deque
from datetime import datetime, timedelta
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from raysvc.api.auth import SESSION_AGE, SESSION_COOKIE, sessions
from raysvc.api.context import platform, settings
from raysvc.api.pages.render import render
from raysvc.errors import OverLimit, RaysvcError, Unauthenticated
from raysvc.ports import Clock

# Guessing 256 bits is hopeless at any rate; this keeps a broken script from filling the log.
MOST_FAILURES = 10
WITHIN = timedelta(minutes=1)


class LoginLimit:
    """Counts failed logins by client address."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: defaultdict[str, deque[datetime]] = defaultdict(deque)

    def check(self, client: str) -> None:
        """Return where this client may try; raises OverLimit."""
        failures = self._failures.get(client)
        if failures is not None and len(self._recent(client)) >= MOST_FAILURES:
            raise OverLimit("Too many tokens that are not known came from this address. Try again in a minute.")

    def failed(self, client: str) -> None:
        """Count a failure."""
        for other in list(self._failures):
            if not self._recent(other):
                del self._failures[other]
        self._failures[client].append(self._clock.now())

    def _recent(self, client: str) -> deque[datetime]:
        failures, since = self._failures[client], self._clock.now() - WITHIN
        while failures and failures[0] < since:
            failures.popleft()
        return failures


async def show(request: Request) -> Response:
    """Show the form."""
    return render(request, "login.html", None, next=local_path(request.query_params.get("next")), error=None)


async def log_in(request: Request) -> Response:
    """Check the token and begin a session. The guard has refused other sites' forms before this."""
    try:
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    except ValueError:
        form = {}
    token, onward = form.get("token", [""])[0].strip(), local_path(form.get("next", [""])[0])
    limit: LoginLimit = request.app.state.login_limit
    client = request.client.host if request.client else ""
    try:
        limit.check(client)
        if not token:
            raise Unauthenticated("Paste a token first.")
        await platform(request).gate.authenticate(token, browser=True)
    except RaysvcError as error:
        if isinstance(error, Unauthenticated):
            limit.failed(client)
        return render(request, "login.html", None, status=error.status, next=onward, error=error.message)
    response = RedirectResponse(onward, 303)
    response.set_cookie(
        SESSION_COOKIE,
        sessions(request).begin(token),
        max_age=int(SESSION_AGE.total_seconds()),
        path="/",
        secure=settings(request).secure_cookies,
        httponly=True,
        samesite="strict",
    )
    return response


async def log_out(request: Request) -> Response:
    """End the session of this browser."""
    sessions(request).end(request.cookies.get(SESSION_COOKIE, ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
    return response


def to_login(request: Request) -> Response:
    """Send a browser without a session to the form, and back here afterwards."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if request.headers.get("sec-fetch-site") == "cross-site":
        # The cookie is SameSite=Strict, so a link on another site comes without it: ask once more from our own page.
        return render(request, "again.html", None, status=401, here=here)
    return RedirectResponse(f"/login?next={quote(here, safe='/')}", 303)


def local_path(path: str | None) -> str:
    """Return a path on this site to go on to, and `/jobs` for anything that might lead elsewhere."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")) or any(c in path for c in "\r\n\t\\"):
        return "/jobs"
    return path
