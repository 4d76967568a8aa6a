"""Templates, and the headers that a page needs. Everything is escaped; nothing runs that we did not send."""

from secrets import token_urlsafe
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from raysvc.api.context import platform, settings
from raysvc.api.pages.plot import number
from raysvc.api.pages.words import code, count, instant, lasting, size
from raysvc.domain.access import Principal

_templates = Environment(
    loader=PackageLoader("raysvc.api.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(code=code, count=count, instant=instant, lasting=lasting, size=size, number=number)


def render(request: Request, template: str, who: Principal | None, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return the page. Its scripts carry a nonce of this reply, so that nothing smuggled in runs."""
    nonce = token_urlsafe(16)
    html = _templates.get_template(template).render(
        nonce=nonce, who=who, now=platform(request).clock.now(), version=settings(request).version, **values
    )
    # Chromium holds a form to its targets through redirects too, and a login may lead on to a dashboard.
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        f"form-action 'self' {settings(request).dashboard_url}; base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(html, status, {"Content-Security-Policy": policy, "Cache-Control": "no-store"})
