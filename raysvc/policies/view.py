"""What expressions see of a submission: one CEL context each, shared by all rules of all files."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from raysvc.domain.admission import Admission, Amend, amend
from raysvc.domain.job import ImageCode, JobSpec
from raysvc.errors import Invalid
from raysvc.policies.evaluator import cel
from raysvc.policies.expression import Expression

_COMPUTED = frozenset({"id", "demand", "image", "images"})


@dataclass(frozen=True, slots=True)
class View:
    admission: Admission
    context: cel.Context


class Views:
    """Makes views, and keeps the last: files review the same submission one after another.

    Converting to CEL costs about 1 µs a text (measured), so only the variables and the fields of `job` that some
    expression reads are converted: a large runtime_env costs nothing where no rule asks for it.
    """

    def __init__(self, expressions: Iterable[Expression]) -> None:
        fields: set[str] | None = set()
        names: set[str] = set()
        for expression in expressions:
            fields = None if fields is None or expression.fields is None else fields | expression.fields
            names |= expression.names
        self._fields = frozenset(JobSpec.model_fields) | _COMPUTED if fields is None else frozenset(fields)
        self._names = frozenset(names)
        self._last: View | None = None

    def of(self, admission: Admission) -> View:
        """Return the view; raises Invalid for a submission that cannot be shown, such as one that names two images."""
        last = self._last
        if last is None or not _same(last.admission, admission):
            variables = {name: _variable(name, admission, self._fields) for name in self._names}
            last = self._last = View(admission, cel.Context(variables))
        return last

    def amended(self, view: View, change: Amend) -> View:
        """Return the view of the amended submission; raises Invalid where the change does not fit."""
        spec = amend(view.admission.spec, change.changes, rule=change.rule)
        return view if spec == view.admission.spec else self.of(view.admission.model_copy(update={"spec": spec}))


def _same(one: Admission, other: Admission) -> bool:
    # The spec by identity: comparing two could cost as much as converting one.
    return one.spec is other.spec and (one.project, one.owner, one.role, one.job_id, one.operation) == (
        other.project,
        other.owner,
        other.role,
        other.job_id,
        other.operation,
    )


def _variable(name: str, admission: Admission, fields: frozenset[str]) -> Any:
    match name:
        case "job":
            return _job(admission, fields)
        case "role":
            return admission.role.value
        case _:
            return getattr(admission, name)


def _job(admission: Admission, fields: frozenset[str]) -> dict[str, Any]:
    spec = admission.spec
    # Without None, so that has(job.timeout_s) means what it says.
    job = spec.model_dump(include=set(fields - _COMPUTED), exclude_none=True)
    if "id" in fields:
        job["id"] = admission.job_id
    if "driver" in fields:
        job["driver"] = spec.driver  # left out of a dump where it is the default
    if "demand" in fields:
        job["demand"] = spec.demand().model_dump()
    if "images" in fields or "image" in fields:
        job["images"] = images(spec)
    if "image" in fields:
        job["image"] = _image(job["images"])
    return job


def images(spec: JobSpec) -> list[str]:
    """Return every container image that the job names: its code's, and both ways of Ray's runtime_env."""
    container = spec.runtime_env.get("container")
    named = (
        spec.code.image if isinstance(spec.code, ImageCode) else None,
        spec.runtime_env.get("image_uri"),
        container.get("image") if isinstance(container, dict) else container,
    )
    return list(dict.fromkeys(str(image) for image in named if image is not None))


def _image(named: list[str]) -> str:
    if len(named) > 1:
        raise Invalid(
            "The job names more than one container image (code.image, runtime_env.image_uri, runtime_env.container); "
            "name one.",
            field="runtime_env.image_uri",
        )
    return named[0] if named else ""
