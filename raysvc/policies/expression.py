"""CEL: compiled once at load, with errors in people's words, and with what can be told wrong before the first job."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from raysvc.domain.job import JobSpec
from raysvc.domain.resources import Resources
from raysvc.policies.evaluator import cel

VARIABLES = frozenset({"job", "project", "owner", "role", "operation"})
# `type(x) == int` names types as if they were variables.
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint", "optional"})
FUNCTIONS = frozenset(
    {
        *("size", "contains", "startsWith", "endsWith", "matches", "type", "dyn"),
        *("int", "uint", "double", "string", "bytes", "timestamp", "duration"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
        *("of", "none", "ofNonZeroValue", "value", "hasValue", "orValue", "or"),
    }
)
_JOB: Mapping[str, Any] = {
    **{name: field.annotation for name, field in JobSpec.model_fields.items()},
    "id": str,
    "demand": Resources,
    "image": str,
    "images": list[str],
}
# The parser recurses: some ten thousand characters of nesting end in a stack overflow that nothing can catch.
MAX_LENGTH = 2000

_TEXT = re.compile(r"""//[^\n]*|'''.*?'''|\"\"\".*?\"\"\"|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""", re.DOTALL)
_BOUND = re.compile(r"\.(?:all|exists|exists_one|map|filter)\(\s*([A-Za-z_]\w*)\s*,")
_PATH = re.compile(r"(?<![\w.])job\b((?:\s*\.\s*[A-Za-z_]\w*)*)")
_SYNTAX = re.compile(r"ERROR: <input>:(?P<line>\d+):(?P<column>\d+): (?:Syntax error: )?(?P<text>[^\n]*)")
# What the evaluator says of a function that it has, but not for these types.
_UNDEFINED = re.compile(r"Undefined variable or function: '(\w+)'")


class BadExpression(ValueError):
    """Does not compile, or cannot be right. `line` counts from 1 within the expression."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


class Unevaluable(ValueError):
    """Could not be evaluated for this submission."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `names` are the variables that it reads.

    `fields` are the fields of `job` that it reads; None: it may read any.
    """

    source: str
    program: cel.Program
    names: frozenset[str]
    fields: frozenset[str] | None

    def value(self, context: cel.Context) -> Any:
        """Return what it comes to; raises Unevaluable."""
        try:
            return self.program.execute(context)
        except Exception as error:  # whatever the evaluator raises, the rule has no answer
            raise Unevaluable(_evaluator_words(error)) from error


def _evaluator_words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {shown(error.args[0])!r} (guard with has(…) or `in`)"
    undefined = _UNDEFINED.match(str(error))
    if undefined and undefined[1] in FUNCTIONS:
        return f"{undefined[1]} does not take a value of this type"
    return shown(error, 300) or type(error).__name__


def compile_expression(source: str) -> Expression:
    """Return the compiled expression; raises BadExpression."""
    if len(source) > MAX_LENGTH:
        raise BadExpression(f"is longer than {MAX_LENGTH} characters; split it into several rules")
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise _syntax_error(source, str(error)) from error
    bare = _TEXT.sub("''", source)
    known = VARIABLES | _TYPES | set(_BOUND.findall(bare))
    for name in program.variables():
        if name not in known:
            hint = f"{_near(name, VARIABLES)} A text needs quotes of its own inside: '\"{name}\"'."
            raise BadExpression(f"does not know {name!r}.{hint} It knows {', '.join(sorted(VARIABLES))}.")
    for name in program.functions():
        if name[0].isalpha() and name not in FUNCTIONS:
            raise BadExpression(f"does not know the function {name!r}.{_near(name, FUNCTIONS)}")
    return Expression(source, program, VARIABLES.intersection(program.variables()), _fields(bare))


def _syntax_error(source: str, text: str) -> BadExpression:
    match = _SYNTAX.search(text)
    if match is None:
        return BadExpression(text.splitlines()[0][:200])
    line, column = int(match["line"]), int(match["column"])
    lines = source.splitlines() or [""]
    what = match["text"].split(" expecting ")[0]
    if what.startswith("mismatched input '<EOF>'"):
        what = "the expression ends too early"
    where = f"line {line}, column {column}" if len(lines) > 1 else f"column {column}"
    return BadExpression(f"syntax error at {where}: {what}\n    {lines[line - 1]}\n    {' ' * (column - 1)}^", line)


def _fields(bare: str) -> frozenset[str] | None:
    """Return the fields of `job` that an expression, its texts blanked, reads; raises BadExpression for unknown."""
    fields: set[str] = set()
    anything = False
    for match in _PATH.finditer(bare):
        parts = [part.strip() for part in match[1].split(".")[1:]]
        if not parts:
            anything = True
            continue
        _check_path(parts)
        fields.add(parts[0])
    return None if anything else frozenset(fields)


def _check_path(parts: list[str]) -> None:
    names, parent = _JOB, "job"
    for part in parts:
        if part not in names:
            raise BadExpression(
                f"{parent} has no field {part!r}.{_near(part, names)} It has {', '.join(sorted(names))}."
            )
        kind = names[part]
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return
        names, parent = {name: field.annotation for name, field in kind.model_fields.items()}, f"{parent}.{part}"


def _near(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with expressions in braces; `{{` and `}}` are braces themselves."""

    parts: tuple[str | Expression, ...]

    def render(self, context: cel.Context) -> str:
        """Return the text; an expression that has no answer is shown as (unknown), since the verdict stands anyway."""
        return "".join(part if isinstance(part, str) else self._shown(part, context) for part in self.parts)

    @staticmethod
    def _shown(part: Expression, context: cel.Context) -> str:
        try:
            return shown(part.value(context))
        except Unevaluable:
            return "(unknown)"


_HOLE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def compile_template(text: str) -> Template:
    """Return the compiled text; raises BadExpression."""
    parts: list[str | Expression] = []
    at = 0
    for match in _HOLE.finditer(text):
        parts.append(text[at : match.start()])
        at = match.end()
        if match[1] is not None:
            parts.append(compile_expression(match[1].strip()))
        elif match[0] in {"{{", "}}"}:
            parts.append(match[0][0])
        else:
            raise BadExpression(f"has a {match[0]!r} without its pair; write {match[0] * 2} for a brace itself")
    parts.append(text[at:])
    return Template(tuple(part for part in parts if part != ""))


def shown(value: Any, most: int = 200) -> str:
    """Return a value for people, on one line: it came from a submission, and goes into headers and terminals."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    text = f"{text[:most]}…" if len(text) > most else text
    return "".join(character if character.isprintable() else " " for character in text)
