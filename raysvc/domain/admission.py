"""A submission under review, and what a policy may say of it."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from raysvc.domain.job import JobSpec
from raysvc.domain.model import Model, Name
from raysvc.domain.project import Role
from raysvc.errors import Invalid


class Admission(Model):
    """What a policy sees: who submits what, where. `spec` is as the policies before it left it.

    Of a service (`deploy`) it is the job that would do the same: `vllm serve`, with a worker for each replica.
    """

    operation: Literal["submit", "deploy"] = "submit"
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
    """Change the spec: `changes` maps a dotted path of JobSpec (say `labels.team`) to its new value, as in `amend`."""

    kind: Literal["amend"] = "amend"
    rule: str
    message: str
    changes: dict[str, Any] = Field(default_factory=dict)


Verdict = Allow | Warn | Deny | Amend

# Maps from a user's own names to text: below them the path is one key, dots and all (labels.example.com/team).
_FLAT = frozenset({"labels", "metadata", "label_selector", "secrets"})


def amend(spec: JobSpec, changes: Mapping[str, Any], *, rule: str = "") -> JobSpec:
    """Return the spec with each dotted path set to its value; None takes a key away, or a field back to its default.

    Folders on the way that are missing are made. Raises Invalid, naming the path (and the rule, where given), for a
    path that JobSpec does not have or a value that it does not take; the spec itself never changes.
    """
    data = spec.model_dump()
    for path, value in changes.items():
        keys = path.split(".", 1) if path.partition(".")[0] in _FLAT else path.split(".")
        if keys[0] not in JobSpec.model_fields or not all(keys):
            raise _unfit(rule, path, f"a job has no such field; its fields are {', '.join(JobSpec.model_fields)}")
        _put(data, keys, value, rule)
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _unfit(rule, ".".join(map(str, first["loc"])), first["msg"]) from error


def _put(data: dict[str, Any], keys: list[str], value: Any, rule: str) -> None:
    node = data
    for depth, key in enumerate(keys[:-1], start=1):
        child = node.get(key)
        if child is None:
            child = {}
        elif not isinstance(child, dict):
            raise _unfit(rule, ".".join(keys), f"{'.'.join(keys[:depth])} is not a map, so nothing can be set below it")
        # A copy on the way down, so that the caller's own maps stay as they are.
        node[key] = child = dict(child)
        node = child
    if value is None:
        node.pop(keys[-1], None)
    else:
        node[keys[-1]] = value


def _unfit(rule: str, path: str, why: str) -> Invalid:
    whose = f"Rule {rule} cannot" if rule else "Cannot"
    return Invalid(f"{whose} set {path}: {why}.", field=path, rule=rule or None)
