"""The routes of the pages. They show; what changes things is the API's, and takes a token."""

from collections.abc import Awaitable, Callable
from functools import wraps
from importlib.resources import files
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from raysvc.api.auth import home_project, principal
from raysvc.api.context import platform
from raysvc.api.invalid import Malformed, field_errors
from raysvc.api.pages import login
from raysvc.api.pages.reference import reference
from raysvc.api.pages.render import render
from raysvc.api.pages.view import job_live, list_page, log_tail
from raysvc.api.v1.filter import JobFilter
from raysvc.control.locate import locate
from raysvc.domain.access import Principal
from raysvc.domain.job import JobPhase
from raysvc.errors import RaysvcError, Unauthenticated

Page = Callable[[Request, Principal], Awaitable[Response]]

router = APIRouter(include_in_schema=False)
_ASSETS = {
    path.name: (path.read_bytes(), kind)
    for path, kind in (
        (files("raysvc.api.pages") / "static" / "style.css", "text/css"),
        (files("raysvc.api.pages") / "static" / "live.js", "text/javascript"),
        (files("raysvc.api.pages") / "static" / "icon.svg", "image/svg+xml"),
    )
}
ROWS = 50


def page(path: str) -> Callable[[Page], Page]:
    """Serve the page to those who are logged in, and errors as pages."""

    def register(show: Page) -> Page:
        @router.get(path)
        @wraps(show)
        async def shown(request: Request) -> Response:
            try:
                who = await principal(request)
            except Unauthenticated:
                return login.to_login(request)
            try:
                return await show(request, who)
            except RaysvcError as error:
                return render(request, "error.html", who, status=error.status, error=error)

        del shown.__wrapped__  # FastAPI would read the page's own signature through it
        return show

    return register


@router.get("/")
async def front() -> Response:
    """Go to the jobs."""
    return RedirectResponse("/jobs", 303)


@page("/jobs")
async def jobs(request: Request, who: Principal) -> Response:
    """The jobs that the token sees, newest first."""
    here = platform(request)
    asked = _filter(request)
    found = await list_page(here, who, asked.query())
    onward = urlencode([*_kept(request), ("cursor", found.next_cursor)]) if found.next_cursor else None
    template = "jobs_live.html" if "live" in request.query_params else "jobs.html"
    projects = [project.name for project in await here.projects.find(who)]
    newest = urlencode(_kept(request))
    return render(
        request,
        template,
        who,
        found=found,
        asked=asked,
        projects=projects,
        phases=list(JobPhase),
        onward=onward,
        newest=newest,
    )


@page("/jobs/{job_id}")
async def job(request: Request, who: Principal) -> Response:
    """One job: its state, its progress, its log."""
    here = platform(request)
    found = await locate(
        here.store.jobs,
        who,
        request.path_params["job_id"],
        project=request.query_params.get("project"),
        home=home_project(who),
    )
    live = await job_live(here, who, found)
    if "live" in request.query_params:
        return render(request, "job_live.html", who, live=live)
    return render(request, "job.html", who, live=live, log=await log_tail(here, found))


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API, from its OpenAPI document. Open, as the document is."""
    try:
        who = await principal(request)
    except Unauthenticated:
        who = None
    return render(request, "docs.html", who, reference=reference(request.app.openapi()))


@router.get("/assets/{name}")
async def asset(name: str) -> Response:
    """A style, a script or an icon."""
    if name not in _ASSETS:
        raise HTTPException(404)
    content, kind = _ASSETS[name]
    return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=300"})


router.get("/login")(login.show)
router.post("/login")(login.log_in)
router.post("/logout")(login.log_out)


def _filter(request: Request) -> JobFilter:
    query = request.query_params
    values = {name: query[name] for name in query if query[name] and name not in {"project", "phase", "live"}}
    lists = {name: [value for value in query.getlist(name) if value] for name in ("project", "phase")}
    try:
        return JobFilter.model_validate({"limit": ROWS, **values, **lists})
    except ValidationError as error:
        raise Malformed(field_errors(error.errors(include_input=False), model=JobFilter)) from error


def _kept(request: Request) -> list[tuple[str, str]]:
    """Return the filters that are set, for the link to another page."""
    return [(name, value) for name, value in request.query_params.multi_items() if value and name not in _PAGING]


_PAGING = frozenset({"cursor", "live"})
