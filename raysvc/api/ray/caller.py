"""Who calls, and for which project."""

from typing import NamedTuple

from starlette.requests import HTTPConnection

from raysvc.api.auth import home_project, principal
from raysvc.domain.access import Principal
from raysvc.errors import Unauthenticated

PROJECT_HEADER = "x-raysvc-project"
# What may carry a token (raysvc.api.auth reads them in this order).
_CREDENTIALS = ("authorization", "x-ray-authorization", "cookie")


class WrongToken(Unauthenticated):
    """Ray's own server says 403 to a token that is there and wrong; its client then says that, not how to set one."""

    status = 403


class Caller(NamedTuple):
    principal: Principal
    project: str


async def caller(connection: HTTPConnection) -> Caller:
    """Return who asks and for which project: that of the path, else of the header, else the token's own.

    Raises Unauthenticated, WrongToken where a token came. Whether the principal may see the project is for each service
    to check.
    """
    try:
        who = await principal(connection)
    except Unauthenticated as error:
        if any(connection.headers.get(name) for name in _CREDENTIALS):
            raise WrongToken(error.message) from error
        raise
    named = connection.path_params.get("project") or connection.headers.get(PROJECT_HEADER)
    return Caller(who, named or home_project(who))
