"""From a reply that says no to the error of raysvc's tree that the server raised."""

from http import HTTPStatus
from typing import Any

import httpx

from raysvc import errors
from raysvc.errors import Forbidden, Invalid, NotFound, RaysvcError, Refused, Unauthenticated, Unavailable

# For a reply without a code of ours: Ray's API answers in plain text, a proxy in whatever it likes.
_BY_STATUS: dict[int, type[RaysvcError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
}
_TEXT_SHOWN = 500


def error_of(response: httpx.Response) -> RaysvcError:
    """Return the error that a reply (status ≥ 300, body read) stands for, with its message, field and rule."""
    problem = _problem(response)
    kind = _BY_CODE.get(problem.get("code", "")) or _by_status(response.status_code)
    message = problem.get("detail") or _text(response)
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and (request_id := problem.get("request_id")):
        message = f"{message} (request {request_id})"
    return kind(message, field=problem.get("field"), rule=problem.get("rule"))


def _problem(response: httpx.Response) -> dict[str, Any]:
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _by_status(status: int) -> type[RaysvcError]:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Refused
    return RaysvcError if status == HTTPStatus.INTERNAL_SERVER_ERROR else Unavailable


def _text(response: httpx.Response) -> str:
    said = f"The server at {response.url.copy_with(path='/', query=None)} answered {response.status_code}"
    if response.is_redirect:
        return f"{said}, a redirect. RAYSVC_URL does not lead to raysvc itself; is there a login page in front of it?"
    text = response.text.strip()
    return f"{said}: {text[:_TEXT_SHOWN]}" if text else f"{said} {response.reason_phrase}."


_BY_CODE: dict[str, type[RaysvcError]] = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RaysvcError)
}
