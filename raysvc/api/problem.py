"""RFC 9457 problem details: the one shape of every error under /v1, of unknown routes and of what the guard refuses."""

import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from raysvc.api.invalid import FieldError, Malformed, field_errors
from raysvc.errors import RaysvcError

MEDIA_TYPE = "application/problem+json"
REQUEST_ID = "raysvc.request_id"

_RAY = re.compile(r"(?:/p/[^/]+)?/api/")

_TITLES = {
    "invalid": "The request is not valid",
    "unauthenticated": "Not logged in",
    "forbidden": "This token may not do that",
    "cross_site": "Refused: the request came from another site",
    "not_found": "There is no such thing here",
    "method_not_allowed": "This path has no such method",
    "conflict": "The state does not allow it now",
    "already_exists": "The id or name is taken",
    "idempotency_key_reused": "The Idempotency-Key came before with another body",
    "stale_version": "Somebody else changed it first",
    "too_large": "The body is too large",
    "unsupported_media_type": "The body must be JSON",
    "range_not_satisfiable": "The file has no such range",
    "misdirected": "This server does not answer to that host name",
    "denied": "A policy refuses it",
    "over_limit": "A limit is reached",
    "unavailable": "Not available now, try again",
    "disk_full": "The disk is full",
    "damaged": "The database is damaged",
    "internal": "The server failed",
}
_CODES = {
    400: "invalid",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}
_INTERNAL = "This is a bug or a broken set-up. The server's log has the details under this request_id."


class Problem(BaseModel):
    """An error as programs read it: `code` is stable, `detail` is for people; absent fields do not apply."""

    type: str = Field(examples=["urn:raysvc:problem:invalid"])
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str = Field(description="stable, for programs", examples=["invalid"])
    field: str | None = Field(default=None, description="the field that is wrong", examples=["spec.entrypoint"])
    rule: str | None = Field(default=None, description="the policy/rule or limit that refused")
    errors: list[FieldError] | None = Field(default=None, description="every wrong field, where there are several")
    request_id: str = Field(description="as in X-Request-Id and in the server's log")


class Fault(NamedTuple):
    """An error on its way to a reply."""

    status: int
    code: str
    detail: str
    field: str | None = None
    rule: str | None = None
    errors: Sequence[FieldError] = ()
    headers: tuple[tuple[str, str], ...] = ()


def fault_of(error: RaysvcError) -> Fault:
    """Return what to say of an error of ours. An internal one keeps its text to itself."""
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return Fault(500, "internal", _INTERNAL)
    errors = error.errors if isinstance(error, Malformed) else ()
    headers: tuple[tuple[str, str], ...] = ()
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers = (("WWW-Authenticate", 'Bearer realm="raysvc"'),)
    elif error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers = (("Retry-After", "1"),)
    return Fault(error.status, error.code, error.message, error.field, error.rule, errors, headers)


def internal() -> Fault:
    """Return what is said of a failure that nobody foresaw."""
    return Fault(500, "internal", _INTERNAL)


def document(fault: Fault, request_id: str) -> Problem:
    """Return the problem document."""
    return Problem(
        type=f"urn:raysvc:problem:{fault.code}",
        title=_TITLES.get(fault.code) or HTTPStatus(fault.status).phrase,
        status=fault.status,
        detail=fault.detail,
        code=fault.code,
        field=fault.field,
        rule=fault.rule,
        errors=list(fault.errors) if len(fault.errors) > 1 else None,
        request_id=request_id,
    )


def respond(fault: Fault, scope: Scope) -> Response:
    """Return the reply for a request that failed so. Ray's clients show the text as it is, so theirs is plain."""
    if _RAY.match(scope["path"]):
        return PlainTextResponse(fault.detail, fault.status, dict(fault.headers))
    body = document(fault, scope.get(REQUEST_ID, "")).model_dump(exclude_none=True)
    return Response(json.dumps(body), fault.status, dict(fault.headers), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of this app a problem document."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, RaysvcError)  # noqa: S101 the registration below says so
        return respond(fault_of(error), request.scope)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 as above
        return respond(fault_of(Malformed(field_errors(error.errors(), where=True))), request.scope)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 as above
        return respond(_of_http(error, request), request.scope)

    app.add_exception_handler(RaysvcError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _of_http(error: HTTPException, request: Request) -> Fault:
    code = _CODES.get(error.status_code, "error")
    headers = tuple((error.headers or {}).items())
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:
        detail = {
            404: f"There is nothing at {request.url.path[:200]!r}. The API is described at /docs.",
            405: f"{request.method} is not possible on {request.url.path[:200]!r}. The API is described at /docs.",
        }.get(error.status_code, detail)
    return Fault(error.status_code, code, detail, headers=headers)
