"""Which files stay out of a package: git's wildmatch, as the matcher inside Ray's client reads it.

The two must agree: a package is named by what is in it, so a file more or less is another package.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from raysvc.errors import Invalid

Rule = Callable[[Path], bool]

# One piece of a path segment. Possessive, so that `[!]` is three plain characters and not a set that holds `!`.
_PIECE = re.compile(
    r"\\(?P<escaped>.?)|(?P<star>\*)|(?P<any>\?)|\[(?P<not>!?+)(?P<set>\]?+[^\]]*+)\]|(?P<plain>.)", re.DOTALL
)


def matcher(lines: Iterable[str], *, source: str) -> Callable[[str], bool]:
    """Return whether a relative POSIX path is ignored by these patterns; the last that matches decides.

    Raises Invalid, naming `source` and the pattern, for one that cannot be read.
    """
    patterns = [pattern for line in lines if (pattern := _compile(line.strip(), source)) is not None]

    def ignored(path: str) -> bool:
        found = False
        for expression, ignores in patterns:
            if expression.match(path):
                found = ignores
        return found

    return ignored


def rule(folder: Path, lines: Sequence[str], *, source: str) -> Rule:
    """Return the rule of these patterns for paths below `folder`."""
    ignored = matcher(lines, source=source)
    return lambda path: ignored(path.relative_to(folder).as_posix())


def rules_of(folder: Path, *, gitignore: bool) -> list[Rule]:
    """Return the rules that a folder's own ignore files lay down for what is below it."""
    names = (".gitignore", ".rayignore") if gitignore else (".rayignore",)
    files = [folder / name for name in names if (folder / name).is_file()]
    return [rule(folder, file.read_text().splitlines(), source=str(file)) for file in files]


def _compile(pattern: str, source: str) -> tuple[re.Pattern[str], bool] | None:
    if not pattern or pattern == "/" or pattern.startswith("#"):
        return None
    ignores = not pattern.startswith("!")
    text = pattern if ignores else pattern[1:]
    expression = _expression(text.removeprefix("\\").split("/"), ignores=ignores)
    try:
        return re.compile(expression), ignores
    except re.error as error:
        raise Invalid(f"{source}: the pattern {pattern!r} cannot be read: {error}.", field="excludes") from error


def _expression(segments: list[str], *, ignores: bool) -> str:
    if not segments[0]:
        del segments[0]  # a leading slash ties the pattern to the folder
    elif (len(segments) == 1 or segments[1:] == [""]) and segments[0] != "**":
        segments.insert(0, "**")
    if len(segments) > 1 and not segments[-1]:
        segments[-1] = "**"  # a trailing slash: what is below the folder, not a file of that name
    last = len(segments) - 1
    parts, slash = ["^"], ""
    for index, segment in enumerate(segments):
        if segment == "**":
            if index == 0:
                parts.append(".+" if last == 0 else "(?:.+/)?")
            elif index == last:
                parts.append("/.*")
            else:
                parts.append("(?:/.+)?")
                slash = "/"
            continue
        parts.append(slash + ("[^/]+" if segment == "*" else _PIECE.sub(_translate, segment)))
        if index == last and ignores and segment != "*":
            parts.append("(?:/.*)?")  # a name stands for what is below it, too
        slash = "/"
    return "".join(parts) + "$"


def _translate(piece: re.Match[str]) -> str:
    if piece["star"]:
        return "[^/]*"
    if piece["any"]:
        return "[^/]"
    if piece["set"] is not None:
        inner = piece["set"].replace("\\", "\\\\")
        # A caret is negation to `re` and a plain character here.
        return f"[^{inner}]" if piece["not"] else f"[{_escape_caret(inner)}]"
    return re.escape(piece["escaped"] or piece["plain"] or "")


def _escape_caret(inner: str) -> str:
    return "\\" + inner if inner.startswith("^") else inner
