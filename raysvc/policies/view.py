"""What expressions see of a submission: one CEL context each, shared by all rules of all files."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from raysvc.domain.admission import Admission, Amend, amend
from raysvc.domain.job import ImageCode, JobSpec
from raysvc.domain.project import Role
from raysvc.errors import Invalid
from raysvc.policies.evaluator import cel
from raysvc.policies.expression import Expression

Key = tuple[str, str, str, Role, str, str]

# Fields of `job` that a spec does not have, and those of the spec that they are made of.
_COMPUTED: Mapping[str, frozenset[str]] = {
    "id": frozenset(),
    "demand": frozenset({"resources", "shape"}),
    "image": frozenset({"code", "runtime_env"}),
    "images": frozenset({"code", "runtime_env"}),
}
# Longer ones, in characters, are not worth keeping: each submission is likely to have another.
_LONGEST_KEY = 2000


class Reads(NamedTuple):
    """What some expressions read: variables, fields of `job`, and the fields of a spec that those are made of."""

    names: frozenset[str]
    fields: frozenset[str]
    sources: frozenset[str]

    @classmethod
    def of(cls, expressions: Iterable[Expression]) -> "Reads":
        names: set[str] = set()
        fields: set[str] = set()
        for expression in expressions:
            names |= expression.names
            fields |= expression.fields if expression.fields is not None else JobSpec.model_fields.keys() | _COMPUTED
        made = (_COMPUTED.get(field, frozenset({field})) for field in fields)
        return cls(frozenset(names), frozenset(fields), frozenset().union(*made))


class View:
    """A submission as rules see it. Made on demand, since rules that know the key do not look."""

    def __init__(self, admission: Admission, reads: Reads) -> None:
        self.admission = admission
        self._reads = reads

    @cached_property
    def context(self) -> cel.Context:
        """What expressions are evaluated in; raises Invalid for a submission that cannot be shown."""
        return cel.Context({name: _variable(name, self.admission, self._reads.fields) for name in self._reads.names})

    @cached_property
    def key(self) -> Key | None:
        """All that expressions read, types and all: where it is equal, each comes to the same. None: it is long."""
        admission, reads = self.admission, self._reads
        spec = admission.spec.model_dump_json(include=set(reads.sources)) if reads.sources else ""
        if len(spec) > _LONGEST_KEY:
            return None
        job_id = admission.job_id if "id" in reads.fields else ""
        return admission.operation, admission.project, admission.owner, admission.role, job_id, spec


class Views:
    """Makes views, and keeps the last: files review the same submission one after another.

    Converting to CEL costs about 1 µs a text (measured), so only the variables and the fields of `job` that some
    expression reads are converted: a large runtime_env costs nothing where no rule asks for it.
    """

    def __init__(self, expressions: Iterable[Expression]) -> None:
        self._reads = Reads.of(expressions)
        self._last: View | None = None

    def of(self, admission: Admission) -> View:
        """Return the view."""
        last = self._last
        if last is None or not _same(last.admission, admission):
            last = self._last = View(admission, self._reads)
        return last

    def amended(self, view: View, change: Amend) -> View:
        """Return the view of the amended submission; raises Invalid where it does not fit or cannot be shown."""
        spec = amend(view.admission.spec, change.changes, rule=change.rule)
        if spec == view.admission.spec:
            return view
        after = self.of(view.admission.model_copy(update={"spec": spec}))
        _ = after.context
        return after


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
    job = spec.model_dump(include=set(fields - _COMPUTED.keys()), exclude_none=True)
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
