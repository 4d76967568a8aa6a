"""What Ray's clients send: the body of a job submission, and the raysvc.* keys that ride in its metadata.

Ray's server has no field for a queue or a priority, and refuses keys it does not know, so those of ours are text in
`metadata`. The metadata itself stays as it was sent: Ray's client reads it back.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from raysvc.domain.job import JobSpec, Retry
from raysvc.domain.model import JobId, Model
from raysvc.domain.resources import Resources
from raysvc.errors import Invalid

PREFIX = "raysvc."
LABEL = "raysvc.label."
# Ray's own key for a job's name (ray/dashboard/modules/job/common.py).
JOB_NAME = "job_name"
MAX_KEY_LENGTH = 255
_ALLOWED = (
    "raysvc.priority",
    "raysvc.queue",
    "raysvc.timeout_s",
    "raysvc.retries",
    "raysvc.idempotency_key",
    "raysvc.driver",
    "raysvc.label.<name>",
)


class RaySubmission(Model):
    """A submission of Ray's client in our words. `submission_id` None: the client leaves the id to us."""

    spec: JobSpec
    submission_id: JobId | None = None
    idempotency_key: str | None = None


class _Field(NamedTuple):
    """A field of Ray's JobSubmitRequest: its type in Ray's words, and where a map, the type of its values."""

    words: str
    types: type | tuple[type, ...]
    values: tuple[str, type | tuple[type, ...]] | None = None


_NUMBER = (int, float)
_TEXTS = ("strings", str)
# ray/dashboard/modules/job/common.py, class JobSubmitRequest.
_FIELDS: Mapping[str, _Field] = {
    "entrypoint": _Field("a string", str),
    "submission_id": _Field("a string if provided", str),
    "job_id": _Field("a string if provided", str),
    "runtime_env": _Field("a dict", dict),
    "metadata": _Field("a dict", dict, _TEXTS),
    "entrypoint_num_cpus": _Field("a number", _NUMBER),
    "entrypoint_num_gpus": _Field("a number", _NUMBER),
    "entrypoint_memory": _Field("an integer", int),
    "entrypoint_resources": _Field("a dict", dict, ("numbers", _NUMBER)),
    "entrypoint_label_selector": _Field("a dict", dict, _TEXTS),
}
# Where a field of JobSpec came from, for errors: the sender knows Ray's names.
_ORIGIN: Mapping[tuple[str, ...], str] = {
    ("name",): "metadata.job_name",
    ("priority",): "metadata.raysvc.priority",
    ("queue",): "metadata.raysvc.queue",
    ("timeout_s",): "metadata.raysvc.timeout_s",
    ("retry",): "metadata.raysvc.retries",
    ("labels",): "metadata.raysvc.label",
    ("driver",): "metadata.raysvc.driver",
    ("cluster",): "metadata.raysvc.cluster",
    ("resources", "cpus"): "entrypoint_num_cpus",
    ("resources", "gpus"): "entrypoint_num_gpus",
    ("resources", "memory"): "entrypoint_memory",
    ("resources", "custom"): "entrypoint_resources",
    ("label_selector",): "entrypoint_label_selector",
}


def from_ray(body: Any) -> RaySubmission:
    """Return what a JobSubmitRequest body (parsed JSON) asks for, taken and refused as Ray's own server does.

    Raises Invalid, naming the field, for a field that Ray does not have, a wrong type, an id that could not stand in a
    URL, or a raysvc.* key of metadata that is unknown or has a bad value.
    """
    if not isinstance(body, dict):
        raise Invalid(f"The body must be a JSON object with an entrypoint, got {type(body)}.")
    given = {key: value for key, value in body.items() if value is not None}
    for name, value in given.items():
        _check(name, value)
    if "entrypoint" not in given:
        raise Invalid(
            "JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'", field="entrypoint"
        )
    metadata = given.get("metadata", {})
    fields, idempotency_key = _ours(metadata)
    try:
        spec = JobSpec(
            entrypoint=given["entrypoint"],
            runtime_env=given.get("runtime_env", {}),
            metadata=metadata,
            resources=_resources(given),
            label_selector=given.get("entrypoint_label_selector", {}),
            **fields,
        )
    except ValidationError as error:
        raise _refusal(error) from error
    submission_id = given.get("submission_id") or given.get("job_id")
    try:
        return RaySubmission(spec=spec, submission_id=submission_id or None, idempotency_key=idempotency_key)
    except ValidationError as error:
        raise _bad_id(str(submission_id)) from error


def _check(name: str, value: Any) -> None:
    field = _FIELDS.get(name)
    if field is None:
        raise Invalid(f"JobSubmitRequest.__init__() got an unexpected keyword argument {name!r}", field=name)
    # Python's bool is an int; nobody means `true` CPUs.
    if not isinstance(value, field.types) or (isinstance(value, bool) and field.types is not dict):
        raise Invalid(f"{name} must be {field.words}, got {type(value)}", field=name)
    if field.values is not None and isinstance(value, dict):
        words, types = field.values
        for key, item in value.items():
            if not isinstance(item, types) or isinstance(item, bool):
                raise Invalid(f"{name} values must be {words}, got {type(item)} for {key!r}", field=name)


def _resources(given: Mapping[str, Any]) -> Resources:
    asked = {
        "cpus": given.get("entrypoint_num_cpus", 0),
        "gpus": given.get("entrypoint_num_gpus", 0),
        "memory": given.get("entrypoint_memory", 0),
        "custom": given.get("entrypoint_resources", {}),
    }
    try:
        return Resources.model_validate(asked)
    except ValidationError as error:
        raise _refusal(error, "resources") from error


def _ours(metadata: Mapping[str, str]) -> tuple[dict[str, Any], str | None]:
    """Return the JobSpec fields that the metadata asks for, and the idempotency key."""
    fields: dict[str, Any] = {}
    idempotency_key = None
    if JOB_NAME in metadata:
        fields["name"] = metadata[JOB_NAME]
    for key, text in metadata.items():
        if not key.startswith(PREFIX):
            continue
        if key == "raysvc.priority":
            fields["priority"] = _number(key, text, int)
        elif key in {"raysvc.queue", "raysvc.driver", "raysvc.cluster"}:
            fields[key.removeprefix(PREFIX)] = text
        elif key == "raysvc.timeout_s":
            fields["timeout_s"] = _number(key, text, float)
        elif key == "raysvc.retries":
            # "Try again N times whatever fails": never fewer infrastructure retries than everybody has.
            retries = _number(key, text, int)
            fields["retry"] = {"user": retries, "infrastructure": max(retries, Retry().infrastructure)}
        elif key == "raysvc.idempotency_key":
            idempotency_key = _key(key, text)
        elif key.startswith(LABEL) and key != LABEL:
            fields.setdefault("labels", {})[key.removeprefix(LABEL)] = text
        else:
            raise Invalid(
                f"metadata has the key {key!r}, which raysvc does not know. Its keys are {', '.join(_ALLOWED)}.",
                field="metadata",
            )
    return fields, idempotency_key


def _number(key: str, text: str, kind: type[int] | type[float]) -> Any:
    try:
        # Python reads "1_000" too; people who write it mean something else.
        return kind(text.replace("_", "?"))
    except ValueError as error:
        words = "a whole number" if kind is int else "a number of seconds"
        raise Invalid(
            f"metadata {key} must be {words} written as text, got {text[:100]!r}.", field=f"metadata.{key}"
        ) from error


def _key(key: str, text: str) -> str:
    if not text or len(text) > MAX_KEY_LENGTH or not text.isprintable():
        raise Invalid(
            f"metadata {key} must be 1 to {MAX_KEY_LENGTH} printable characters, got {len(text)} characters.",
            field=f"metadata.{key}",
        )
    return text


def _bad_id(text: str) -> Invalid:
    shown = f"{text[:60]}…" if len(text) > 60 else text  # noqa: PLR2004 characters; enough to recognise it
    return Invalid(
        f"submission_id {shown!r} cannot be used: an id has 1 to 128 letters, digits, '_', '.' and '-', and does "
        f"not begin with '.' or '-'; this one has {len(text)} characters.",
        field="submission_id",
    )


def _refusal(error: ValidationError, *parents: str) -> Invalid:
    first = error.errors(include_url=False)[0]
    place = (*parents, *map(str, first["loc"]))
    for origin, name in _ORIGIN.items():
        if place[: len(origin)] == origin:
            field = ".".join((name, *place[len(origin) :])) if name.startswith("entrypoint") else name
            break
    else:
        field = ".".join(place)
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch":
        reason = f"must be 1 to 63 lower-case letters, digits and '-', got {first['input'][:100]!r}"
    return Invalid(f"{field}: {reason[0].lower()}{reason[1:]}.", field=field)
