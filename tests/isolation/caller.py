"""The callers of the matrix: each role inside, outside and everywhere, browsers, and those whom nobody knows."""

from dataclasses import dataclass
from enum import Enum, auto

from raysvc.api.auth import RAY_COOKIE, SESSION_COOKIE
from raysvc.domain.project import Role
from tests.isolation.place import INSIDE, OUTSIDE, Place
from tests.isolation.table import About, Need, Row


class Way(Enum):
    """How somebody says who they are."""

    NONE = auto()
    WRONG = auto()
    BEARER = auto()
    SESSION = auto()
    RAY_COOKIE = auto()


@dataclass(frozen=True)
class Caller:
    name: str
    way: Way
    role: Role = Role.VIEWER
    projects: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return self.way not in {Way.NONE, Way.WRONG}

    @property
    def inside(self) -> bool:
        """Whether the caller sees the project that the matrix is about."""
        return not self.projects or INSIDE in self.projects

    @property
    def browser(self) -> bool:
        return self.way in {Way.SESSION, Way.RAY_COOKIE}

    @property
    def rank(self) -> Need:
        if not self.known:
            return Need.NOBODY
        if self.role is Role.ADMIN and not self.projects:
            return Need.PLATFORM
        return {Role.VIEWER: Need.VIEWER, Role.MEMBER: Need.MEMBER, Role.ADMIN: Need.ADMIN}[self.role]

    async def headers(self, place: Place) -> dict[str, str]:
        """Return what the caller sends to be known."""
        match self.way:
            case Way.NONE:
                return {}
            case Way.WRONG:
                return {"Authorization": "Bearer raysvc_nobody"}
            case Way.BEARER:
                return await place.bearer(self.role, *self.projects)
            case Way.SESSION:
                return {"Cookie": f"{SESSION_COOKIE}={place.begin(await place.token(self.role, *self.projects))}"}
            case Way.RAY_COOKIE:
                return {"Cookie": f"{RAY_COOKIE}={await place.token(self.role, *self.projects)}"}


def _callers() -> list[Caller]:
    callers = [Caller("nobody", Way.NONE), Caller("a wrong token", Way.WRONG)]
    for where, projects in (("inside", (INSIDE,)), ("outside", (OUTSIDE,)), ("everywhere", ())):
        callers += [Caller(f"{role} {where}", Way.BEARER, role, projects) for role in Role]
    callers.append(Caller("a browser of an admin everywhere", Way.SESSION, Role.ADMIN))
    callers.append(Caller("a browser of an admin outside", Way.SESSION, Role.ADMIN, (OUTSIDE,)))
    callers.append(Caller("Ray's cookie of an admin everywhere", Way.RAY_COOKIE, Role.ADMIN))
    return callers


CALLERS = _callers()


def expected(caller: Caller, row: Row) -> int:
    """Return the status that the row promises the caller; 401 for one who is not known."""
    if row.need in {Need.NOBODY, Need.NEVER, Need.REPLICA}:
        return row.ok
    if not caller.known:
        return 401
    if row.about is About.ONE and not caller.inside:
        return 404
    if (row.writes and caller.browser) or caller.rank < row.need:
        return 403
    return row.ok if caller.inside or row.about is not About.OWN else 404
