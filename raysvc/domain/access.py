"""Who may do what: one pure function. Policies say under which conditions; that comes after."""

from enum import StrEnum

from raysvc.domain.model import Model, Name
from raysvc.domain.project import Role
from raysvc.errors import Forbidden, NotFound


class Verb(StrEnum):
    READ = "read"
    SUBMIT = "submit"
    STOP = "stop"
    DELETE = "delete"
    MANAGE = "manage"


class Resource(StrEnum):
    JOB = "job"
    SERVICE = "service"
    PACKAGE = "package"
    LOG = "log"
    CLUSTER = "cluster"
    DASHBOARD = "dashboard"
    PROFILE = "profile"
    SECRET = "secret"  # noqa: S105 a kind of resource
    TOKEN = "token"  # noqa: S105 a kind of resource
    PROJECT = "project"
    ADMISSION = "admission"
    POLICY = "policy"
    POOL = "pool"
    NODE = "node"
    KEY = "key"
    USAGE = "usage"


class Principal(Model):
    """Who asks. `projects` empty means every project. A browser session may read, never write."""

    name: str
    role: Role
    projects: tuple[Name, ...] = ()
    token_id: str = ""
    browser: bool = False

    @property
    def platform_admin(self) -> bool:
        return self.role is Role.ADMIN and not self.projects

    def sees(self, project: str) -> bool:
        return not self.projects or project in self.projects


_RANK = {role: rank for rank, role in enumerate(Role)}
_WRITES = frozenset({Verb.SUBMIT, Verb.STOP, Verb.DELETE})
# Only the platform's administrator may change these; a project's own admin may not.
_PLATFORM = frozenset({Resource.PROJECT, Resource.ADMISSION, Resource.POOL, Resource.NODE})


def authorise(principal: Principal, verb: Verb, resource: Resource, project: str) -> None:
    """Return if the principal may; raise NotFound for a project it cannot see, Forbidden for the rest.

    NotFound rather than Forbidden, so that a project's existence is not given away.
    """
    if not principal.sees(project):
        message = f"There is no project {project!r} for this token."
        raise NotFound(message)
    if principal.browser and verb is not Verb.READ:
        message = "A browser session may read, not change anything. Use a token with the CLI, the SDK or Ray's client."
        raise Forbidden(message)
    if resource is Resource.PROFILE or (verb is Verb.READ and resource is Resource.TOKEN):
        needed = Role.ADMIN
    elif verb is Verb.READ:
        needed = Role.VIEWER
    elif verb in _WRITES and resource in {Resource.JOB, Resource.SERVICE, Resource.PACKAGE}:
        needed = Role.MEMBER
    else:
        needed = Role.ADMIN
    if _RANK[principal.role] < _RANK[needed]:
        message = f"This token's role is {principal.role}; to {verb} a {resource} takes {needed}. Ask an admin."
        raise Forbidden(message)
    changes = verb is not Verb.READ or resource is Resource.NODE  # which even to see is for those who run it
    if changes and resource in _PLATFORM and not principal.platform_admin:
        message = f"Only an admin of the whole platform may {verb} a {resource}; this token is scoped to projects."
        raise Forbidden(message)
