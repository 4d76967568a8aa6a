"""A policy file as it was written: its YAML, and on which line each part of it stands, so that errors can say so."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import BaseModel, ValidationError

from raysvc.errors import Invalid
from raysvc.policies.document import PolicyDocument, RuleDocument, WebhookDocument

MAX_BYTES = 1 << 20
Place = Sequence[str | int]
_PARTS: dict[str, type[BaseModel]] = {"rules": RuleDocument, "webhooks": WebhookDocument}


class Source:
    """One file's parsed YAML. Its errors are Invalid and read `path:line: rule name, field: what is wrong`."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises Invalid where it cannot be read or is not YAML."""
        self.path = path
        try:
            raw = path.read_bytes()
            if len(raw) > MAX_BYTES:
                self._refuse(1, f"is larger than {MAX_BYTES >> 20} MiB, too large for a policy file")
            self._node, self._data = _load(raw.decode("utf-8-sig"))
            self._refuse_twins(self._node, set())
        except OSError as error:
            raise Invalid(f"{path}: cannot be read: {error.strerror}.", field=str(path)) from error
        except UnicodeDecodeError as error:
            self._refuse(raw.count(b"\n", 0, error.start) + 1, "is not UTF-8 text", error)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            self._refuse(mark.line + 1 if mark else 1, _yaml_words(error), error)
        except (ValueError, RecursionError) as error:
            self._refuse(1, f"is not YAML for a policy file: {error}", error)

    def document(self) -> PolicyDocument:
        """Return the validated document; raises Invalid with all that is wrong, a line for each."""
        if not isinstance(self._data, dict):
            self._refuse(1, "is not a policy file: it needs `policy: NAME`, and `rules:` or `webhooks:`")
        try:
            return PolicyDocument.model_validate(self._data)
        except ValidationError as error:
            found = [self._words(part["loc"], part) for part in error.errors(include_url=False)]
            raise Invalid("\n".join(found), field=str(self.path)) from error

    def invalid(self, place: Place, why: str, extra_lines: int = 0) -> Invalid:
        """Return the error for a part of the file, `extra_lines` below the part's first."""
        return Invalid(f"{self._at(place, extra_lines)}: {why}", field=str(self.path))

    def _at(self, place: Place, extra_lines: int = 0) -> str:
        node, line = self._node, 0 if self._node is None else self._node.start_mark.line
        for part in place:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        if extra_lines and node is not None and getattr(node, "style", None) in {"|", ">"}:
            extra_lines += 1
        label = self._label(place)
        return f"{self.path}:{line + 1 + extra_lines}{f': {label}' if label else ''}"

    def _label(self, place: Place) -> str:
        words = list(place)
        label = ""
        if len(words) > 1 and words[0] in _PARTS:
            index = words[1]
            entry = self._data[words[0]][index]
            name = entry.get("name") if isinstance(entry, dict) else None
            kind = str(words[0]).removesuffix("s")
            label = f"{kind} {name}" if isinstance(name, str) else f"{kind} number {int(index) + 1}"
            words = words[2:]
        field = ".".join(map(str, words))
        return ", ".join(filter(None, (label, field)))

    def _words(self, place: Place, error: Any) -> str:
        kind, text = error["type"], error["msg"].removeprefix("Value error, ")
        if kind == "extra_forbidden":
            model = _PARTS[str(place[0])] if len(place) > 1 else PolicyDocument
            names = [field.alias or name for name, field in model.model_fields.items()]
            near = difflib.get_close_matches(str(place[-1]), names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            text = f"is not a field here; {hint}There are {', '.join(names)}."
        elif kind == "missing":
            text = "is missing"
        elif kind == "string_pattern_mismatch":
            text = "must be 1 to 63 letters, digits, '.', '_' and '-', and begin with a letter or digit"
        elif place[-1:] and place[-1] in {"deny", "warn"}:
            text = f"is the effect, so write `{place[-1]}: true`; the text goes into `message`"
        elif kind == "string_type":
            text = f"must be text, and YAML reads it as a {type(error['input']).__name__}: put it in quotes"
        return f"{self._at(place)}: {text}"

    def _refuse(self, line: int, why: str, cause: Exception | None = None) -> NoReturn:
        raise Invalid(f"{self.path}:{line}: {why}", field=str(self.path)) from cause

    def _refuse_twins(self, node: yaml.Node | None, seen: set[int]) -> None:
        """YAML's parser lets the last of two equal keys win, and so would drop a rule's condition silently."""
        if id(node) in seen:  # an alias
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key, value in node.value:
                if key.value in keys:
                    self._refuse(key.start_mark.line + 1, f"{key.value!r} is given twice")
                keys.add(key.value)
                self._refuse_twins(value, seen)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._refuse_twins(item, seen)


def _load(text: str) -> tuple[yaml.Node | None, Any]:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    pairs: Iterable[tuple[Any, yaml.Node, yaml.Node]] = ()
    if isinstance(node, yaml.MappingNode):
        pairs = ((key.value, key, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        pairs = ((index, item, item) for index, item in enumerate(node.value))
    for name, at, value in pairs:
        if name == part:
            return at.start_mark.line, value
    return None


def _yaml_words(error: yaml.YAMLError) -> str:
    text = str(getattr(error, "problem", None) or error).splitlines()[0]
    if "could not determine a constructor for the tag '!" in text:
        return "YAML takes a leading ! for a tag: put the expression in quotes, when: '!has(…)'"
    if text == "expected <block end>, but found '<scalar>'":
        return "YAML ends a text at its closing quote: put the whole expression in the other quotes, when: '\"a\" in …'"
    if text == "mapping values are not allowed here":
        return "YAML takes a colon and a space for a field: put the text in quotes"
    return f"is not YAML: {text}"
