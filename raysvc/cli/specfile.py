"""Job specs and pools in YAML files. An error names the file, the line and the field, and what is allowed there."""

import difflib
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from raysvc.domain.job import JobSpec
from raysvc.errors import Invalid

M = TypeVar("M", bound=BaseModel)
_Node = yaml.Node | None
_MOST_SHOWN = 10


class _Mistake(NamedTuple):
    line: int
    field: str
    text: str


def read_spec(path: Path) -> JobSpec:
    """Return the spec that a YAML (or JSON) file holds; raises Invalid with every mistake that is found."""
    return read_file(path, JobSpec, "a job spec is a mapping that has at least `entrypoint: <command>`")


def read_file(path: Path, model: type[M], form: str) -> M:
    """Return what a YAML (or JSON) file declares; raises Invalid with every mistake that is found."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} cannot be read: {getattr(error, 'strerror', error)}.") from error
    tree, data = _parse(path, text)
    if not isinstance(data, dict):
        raise Invalid(f"{path}: {form}.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        names = list(model.model_fields)
        mistakes = sorted(_mistake(tree, dict(each), names) for each in error.errors(include_url=False))
        lines = [f"{path}:{mistake.line}: {mistake.text}" for mistake in mistakes[:_MOST_SHOWN]]
        if len(mistakes) > _MOST_SHOWN:
            lines.append(f"… and {len(mistakes) - _MOST_SHOWN} more.")
        raise Invalid("\n".join(lines), field=mistakes[0].field) from error


def _parse(path: Path, text: str) -> tuple[_Node, Any]:
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_duplicates(path, tree)
        return tree, yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise Invalid(f"{path}{line}: this is not YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise Invalid(f"{path}: this is not YAML: {error}.") from error


def _refuse_duplicates(path: Path, node: _Node) -> None:
    """YAML's reader would keep the last of two equal keys and say nothing."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(path, item)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise Invalid(f"{path}:{key.start_mark.line + 1}: {name} stands here twice.", field=name)
            seen.add(name)
            _refuse_duplicates(path, value)


def _mistake(tree: _Node, found: dict[str, Any], names: list[str]) -> _Mistake:
    line, parts = _find(tree, found["loc"])
    field = ".".join(parts)
    if found["type"] == "extra_forbidden":
        return _Mistake(line, field, f"{field}: there is no such field{_near(parts, names)}.")
    if found["type"] == "missing":
        return _Mistake(line, field, f"{field} is missing.")
    given = found["input"]
    got = f" (got {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return _Mistake(line, field, f"{field}: {found['msg'].removeprefix('Value error, ')}{got}.")


def _find(node: _Node, place: tuple[int | str, ...]) -> tuple[int, list[str]]:
    """Return the line (from 1) of a place, or of the nearest above it that the file has, and its path in the file.

    pydantic's own path also names the kind of a union, which no file does.
    """
    line, parts = node.start_mark.line if node else 0, []
    for number, part in enumerate(place, start=1):
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                parts += [str(part)] if number == len(place) else []
                continue
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        parts.append(str(part))
    return line + 1, parts


def _near(parts: list[str], names: list[str]) -> str:
    if len(parts) > 1:
        return ""
    close = difflib.get_close_matches(parts[0], names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; the fields are {', '.join(names)}"
