"""Projects, the tokens that open them, their secrets and packages."""

from enum import StrEnum

from pydantic import Field

from raysvc.domain.model import EnvName, Instant, Model, Name
from raysvc.errors import OverLimit


class Role(StrEnum):
    """viewer reads; member also submits, stops and deletes; admin also manages tokens, secrets and limits."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"


class Limits(Model):
    """What a project may have running at once. None: no limit."""

    max_running_jobs: int | None = Field(default=None, ge=0)
    max_cpus: float | None = Field(default=None, ge=0)
    max_gpus: float | None = Field(default=None, ge=0)
    max_queued_jobs: int | None = Field(default=None, ge=0)


class Project(Model):
    name: Name
    limits: Limits = Limits()
    created_at: Instant


def queue_full(project: str, limit: int) -> OverLimit:
    """Return what is said where a project has as many jobs QUEUED as it may."""
    return OverLimit(
        f"Project {project} has {limit} jobs queued, as many as its max_queued_jobs allows. Wait for some to start, or "
        "ask an admin to raise the limit.",
        rule="max_queued_jobs",
    )


class Token(Model):
    """A bearer token's public half: the secret half is kept only as a SHA-256.

    `projects` empty means every project; `role` holds in each of them. An admin token of every project is the
    platform's administrator.
    """

    id: str
    role: Role
    projects: tuple[Name, ...] = ()
    owner: str = Field(description="who acts with it; the owner of what it submits")
    created_at: Instant
    expires_at: Instant | None = None
    revoked_at: Instant | None = None


class Secret(Model):
    """A secret's public half. `digest` is keyed, so that it tells equal values only to us."""

    name: EnvName
    project: Name
    digest: str
    created_at: Instant
    updated_at: Instant


class Package(Model):
    """An uploaded working_dir, py_module or wheel of a project, by the name that Ray's client gave it.

    `digest` covers the entries' names, modes and contents, not their mtimes; `sha256` the stored bytes.
    """

    project: Name
    name: str
    size: int = Field(ge=0)
    sha256: str
    digest: str
    created_at: Instant
    pinned_until: Instant
