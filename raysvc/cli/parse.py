"""What people write on a command line, read: pairs, amounts of memory, lengths of time."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from raysvc.errors import Invalid

M = TypeVar("M", bound=BaseModel)

_UNITS = {
    "": 1,
    "k": 1000,
    "m": 1000**2,
    "g": 1000**3,
    "t": 1000**4,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)", re.IGNORECASE)


def pairs(items: Iterable[str], option: str) -> dict[str, str]:
    """Return what `KEY=VALUE` items say; raises typer.BadParameter for one without a key."""
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{option} takes KEY=VALUE, got {item!r}.")
        found[key] = value
    return found


def size(text: str) -> int:
    """Return the bytes of an amount such as `512MiB`, `2g` or `1073741824`; raises typer.BadParameter."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not an amount of memory; write 512MiB, 2GB or bytes.")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def duration(text: str) -> float:
    """Return the seconds of a time such as `90`, `30m` or `1.5h`; raises typer.BadParameter."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a length of time; write 90s, 30m, 2h or 1d.")
    return float(match[1]) * _SECONDS[match[2].lower()]


def model(kind: type[M], given: Mapping[str, Any], options: Mapping[str, str] | None = None) -> M:
    """Return what the options of a command say; raises Invalid naming the one that is wrong.

    An option is called as its field is, with dashes, unless `options` calls it something else.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        option = (options or {}).get(field, f"--{field.replace('_', '-')}")
        raise Invalid(f"{option}: {first['msg']} (got {first['input']!r}).", field=field) from error
