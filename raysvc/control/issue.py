"""Bearer tokens, as admins manage them: nobody hands out more than they have."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from raysvc.control.token import Gate
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.project import Role, Token
from raysvc.domain.text import check_line
from raysvc.errors import Conflict, Forbidden, Invalid, NotFound
from raysvc.ports import Clock, Projects, Tokens


@dataclass(frozen=True)
class Grant:
    """A token that is asked for. No projects: every project."""

    role: Role
    owner: str
    projects: tuple[str, ...] = ()
    expires_at: datetime | None = None


class TokenDesk:
    """The platform's admin manages all tokens, a project's admin those within its own projects."""

    def __init__(self, gate: Gate, tokens: Tokens, projects: Projects, clock: Clock) -> None:
        self._gate = gate
        self._tokens = tokens
        self._projects = projects
        self._clock = clock

    async def issue(self, principal: Principal, grant: Grant, *, dry_run: bool = False) -> tuple[Token, str | None]:
        """Make a token and return it with its secret, never seen again (None in a dry run).

        Raises Forbidden for more than the principal has, Invalid for a project that is not there or an end that is
        past.
        """
        for project in grant.projects or principal.projects or ("*",):
            access.authorise(principal, Verb.MANAGE, Resource.TOKEN, project)
        if not grant.projects and principal.projects:
            raise Forbidden(
                "Only an admin of the whole platform may make a token for every project. "
                f"Name the projects; yours are {', '.join(principal.projects)}."
            )
        await self._check(grant)
        if not dry_run:
            return await self._gate.issue(
                grant.role, owner=grant.owner, projects=grant.projects, expires_at=grant.expires_at
            )
        now = self._clock.now()
        would = Token(
            id="dry-run",
            role=grant.role,
            projects=grant.projects,
            owner=grant.owner,
            created_at=now,
            expires_at=grant.expires_at,
        )
        return would, None

    async def find(self, principal: Principal) -> Sequence[Token]:
        """Return the tokens that the principal manages, newest first."""
        for project in principal.projects or ("*",):
            access.authorise(principal, Verb.READ, Resource.TOKEN, project)
        seen = [token for token in await self._tokens.list() if _within(token, principal)]
        return sorted(seen, key=lambda token: token.created_at, reverse=True)

    async def revoke(self, principal: Principal, token_id: str, *, dry_run: bool = False) -> Token:
        """End a token and the browser sessions on it. May be repeated.

        Raises NotFound, and Conflict where nobody could administer the platform afterwards.
        """
        for project in principal.projects or ("*",):
            access.authorise(principal, Verb.MANAGE, Resource.TOKEN, project)
        tokens = await self._tokens.list()
        found = next((token for token in tokens if token.id == token_id and _within(token, principal)), None)
        if found is None:
            raise NotFound(f"There is no token {token_id!r} here. `raysvc token list` shows those there are.")
        now = self._clock.now()
        if _rules(found, now) and not any(_rules(token, now) for token in tokens if token.id != token_id):
            raise Conflict(
                f"Token {token_id} is the last one that administers the platform. Make another first: "
                "`raysvc token create --role admin`."
            )
        if not dry_run:
            await self._gate.revoke(token_id)
        return found if found.revoked_at else found.model_copy(update={"revoked_at": now})

    async def _check(self, grant: Grant) -> None:
        check_line(grant.owner, "owner")
        if grant.expires_at is not None and grant.expires_at <= self._clock.now():
            raise Invalid("expires_at is in the past; leave it out for a token without an end.", field="expires_at")
        for project in grant.projects:
            try:
                await self._projects.get(project)
            except NotFound as error:
                raise Invalid(
                    f"There is no project {project!r}. Make it first: `raysvc project create {project}`.",
                    field="projects",
                ) from error


def _within(token: Token, principal: Principal) -> bool:
    """Return whether all that the token opens is the principal's to manage."""
    return not principal.projects or bool(token.projects and set(token.projects) <= set(principal.projects))


def _rules(token: Token, now: datetime) -> bool:
    """Return whether the token administers the whole platform now."""
    over = token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now)
    return token.role is Role.ADMIN and not token.projects and not over
