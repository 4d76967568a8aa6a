"""Who calls, and what every route of /v1 takes: the project in the query, a job by name, a dry run."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, TypeAdapter, ValidationError

from raysvc.api.auth import home_project, principal
from raysvc.api.context import platform
from raysvc.api.invalid import MOST_ERRORS, FieldError, Malformed, field_errors, unknown
from raysvc.control.locate import locate
from raysvc.control.platform import Platform
from raysvc.domain.access import Principal
from raysvc.domain.job import Job
from raysvc.domain.model import JobId, Name

ProjectQuery = Annotated[
    Name | None, Query(description="the project; by default the token's only one, else `default`", examples=["default"])
]
DryRun = Annotated[bool, Query(description="check and show what would be done; keep and send nothing")]
JobName = Annotated[
    JobId, Path(description="a job's id in the project, or its uid", examples=["raysubmit_Ys3kVbTgWqLrN2ZC"])
]


@dataclass(frozen=True)
class Caller:
    """A request of somebody who is known. `named` is the project in the query, `project` the one that is meant."""

    platform: Platform
    who: Principal
    named: str | None = None

    @property
    def project(self) -> str:
        return self.named or home_project(self.who)

    async def job(self, name: str, *, deleted: bool = False) -> Job:
        """Return the job of that id or uid; raises NotFound."""
        jobs, home = self.platform.store.jobs, home_project(self.who)
        return await locate(jobs, self.who, name, project=self.named, home=home, deleted=deleted)


async def caller(request: Request, project: ProjectQuery = None) -> Caller:
    """Return who calls about which project; raises Unauthenticated."""
    return Caller(platform(request), await principal(request), project)


async def visitor(request: Request) -> Caller:
    """Return who calls, where the project stands elsewhere or plays no part."""
    return Caller(platform(request), await principal(request))


Calling = Annotated[Caller, Depends(caller)]
Visiting = Annotated[Caller, Depends(visitor)]


_PROJECT: TypeAdapter[str] = TypeAdapter(Name)


def project_in(request: Request, who: Principal) -> str:
    """Return the project that is meant, for a route that reads its query itself; raises Invalid."""
    named = request.query_params.get("project")
    if named is None:
        return home_project(who)
    try:
        return _PROJECT.validate_python(named)
    except ValidationError as error:
        raise Malformed([FieldError(field="project", message=field_errors(error.errors())[0].message)]) from error


async def known_query(request: Request) -> None:
    """Refuse query parameters that the route does not know: `?dry-run=true` must not submit."""
    check_query(request)


def check_query(request: Request) -> None:
    """Return where the route announces every query parameter; raises Invalid."""
    if not request.query_params:
        return
    names = _announced(request.scope["route"])
    wrong = [name for name in dict.fromkeys(request.query_params) if name not in names][:MOST_ERRORS]
    if wrong:
        raise Malformed([FieldError(field=name[:100], message=unknown(name, names)) for name in wrong])


def _announced(route: APIRoute) -> list[str]:
    """Return the names that the route's signature declares, and those it announces because it reads them itself."""
    names = [
        parameter["name"]
        for parameter in (route.openapi_extra or {}).get("parameters", ())
        if parameter["in"] == "query"
    ]
    for field in get_flat_dependant(route.dependant).query_params:
        kind: Any = field.field_info.annotation
        grouped = isinstance(kind, type) and issubclass(kind, BaseModel)
        names.extend(kind.model_fields if grouped else [field.alias])
    return names


def _to_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must be an instant that a calendar has") from error


def _is_rfc3339(at: Any) -> Any:
    if isinstance(at, str) and not _DATE_TIME.match(at):
        raise ValueError("must be a time with its zone, such as 2026-01-31T12:00:00Z")
    return at


_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
When = Annotated[AwareDatetime, BeforeValidator(_is_rfc3339), AfterValidator(_to_utc)]
