"""What is wrong with a request, field by field, in words that say what is allowed. Values are never echoed."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from raysvc.domain.model import EnvName, JobId, Name, Uid
from raysvc.errors import Invalid

# Of more wrong fields only so many are named: a body that is nothing but wrong must cost little, and no larger a reply.
MOST_ERRORS = 20
LONGEST_FIELD = 200


class FieldError(BaseModel):
    """One wrong field: its dotted path, and what is allowed there."""

    field: str
    message: str


class Malformed(Invalid):
    """A request of the wrong form. `errors` names the wrong fields, MOST_ERRORS at most; the message the first few."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        said = "; ".join(f"{error.field}: {error.message}" for error in errors[:5])
        rest = len(errors) - 5  # the first five are said
        more = f"; and {rest} more" if 0 < rest < MOST_ERRORS - 5 else "; and many more" if rest > 0 else ""
        super().__init__(f"{said}{more}.".replace("..", "."), field=errors[0].field)
        self.errors = tuple(errors)


def _pattern(annotated: Any) -> str:
    return str(get_args(annotated)[1].pattern)


_PATTERNS = {
    _pattern(JobId): "letters, digits, '_', '-' and '.', at most 128, the first a letter, a digit or '_'",
    _pattern(Name): "lower-case letters, digits and '-', at most 63, the first and last a letter or digit",
    _pattern(EnvName): "letters, digits and '_', at most 128, the first not a digit",
    _pattern(Uid): "a uid of raysvc: 16 lower-case letters and digits",
}


def field_errors(
    errors: Iterable[Mapping[str, Any]], *, model: type[BaseModel] | None = None, where: bool = False
) -> list[FieldError]:
    """Return pydantic's errors as ours. `where`: the first part of each path is query, path, header or body.

    Those beyond MOST_ERRORS are left out. Names that are not known come first: a mistyped field is the cause of one
    that is missing.
    """
    found = []
    for error in sorted(errors, key=lambda error: bool(error["type"] != "extra_forbidden"))[:MOST_ERRORS]:
        path = tuple(error["loc"])[1:] if where else tuple(error["loc"])
        parents, walked = walk(model, path[:-1])
        field = ".".join(map(str, (*walked, *path[-1:])))[:LONGEST_FIELD] or "body"
        allowed = list(dict.fromkeys(name for each in parents for name in each.model_fields))
        found.append(FieldError(field=field, message=_message(error, path, allowed)))
    return found


def _message(error: Mapping[str, Any], path: tuple[int | str, ...], allowed: Sequence[str]) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return unknown(str(path[-1]), allowed)
        case "string_pattern_mismatch" if error["ctx"]["pattern"] in _PATTERNS:
            return f"must be {_PATTERNS[error['ctx']['pattern']]}"
        case _:
            text = str(error["msg"]).removeprefix("Value error, ")
            return text[:1].lower() + text[1:]


def unknown(name: str, allowed: Sequence[str]) -> str:
    """Return what to say of a name that is not known, with the nearest that is."""
    if not allowed:
        return "is not known here"
    near = get_close_matches(name[:LONGEST_FIELD], allowed, 1)
    meant = f"; did you mean {near[0]!r}?" if near else ";"
    return f"is not known here{meant} There may be: {', '.join(allowed)}"


def walk(
    model: type[BaseModel] | None, path: Sequence[int | str]
) -> tuple[list[type[BaseModel]], tuple[int | str, ...]]:
    """Return the models at a path, and the path as people write it: pydantic puts the tag of a union into it."""
    models, walked = ([model] if model is not None else []), list[int | str]()
    for part in path:
        tagged = [each for each in models if "kind" in each.model_fields and each.model_fields["kind"].default == part]
        if tagged:
            models = tagged
            continue
        models = [
            nest for each in models if part in each.model_fields for nest in _models_in(each, str(part))
        ] or models
        walked.append(part)
    return models, tuple(walked)


def _models_in(model: type[BaseModel], field: str) -> list[type[BaseModel]]:
    found, left = [], [model.model_fields[field].annotation]
    while left:
        kind = left.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found.append(kind)
        left.extend(get_args(kind))
    return found[::-1]
