"""A submission under review, and what a policy may say of it."""

from typing import Any, Literal

from pydantic import Field

from raysvc.domain.job import JobSpec
from raysvc.domain.model import Model, Name
from raysvc.domain.project import Role


class Admission(Model):
    """What a policy sees: who submits what, where. `spec` is as the policies before it left it."""

    operation: Literal["submit"] = "submit"
    project: Name
    owner: str
    role: Role
    job_id: str
    spec: JobSpec


class Allow(Model):
    kind: Literal["allow"] = "allow"


class Warn(Model):
    """Let it pass, and say so: an event of the job, and a header of the reply."""

    kind: Literal["warn"] = "warn"
    rule: str
    message: str


class Deny(Model):
    kind: Literal["deny"] = "deny"
    rule: str
    message: str


class Amend(Model):
    """Change the spec: `changes` maps a dotted path of JobSpec (say `labels.team`) to its new value."""

    kind: Literal["amend"] = "amend"
    rule: str
    message: str
    changes: dict[str, Any] = Field(default_factory=dict)


Verdict = Allow | Warn | Deny | Amend
