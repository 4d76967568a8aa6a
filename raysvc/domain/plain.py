"""Plain JSON: what may stand in the free-form parts of a spec, so that every later step can keep and send it."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator

# pydantic serialises at most 255 levels, and a record nests a spec a few levels deep; real runtime_envs have about 5.
MAX_DEPTH = 64


def check_plain(value: Any) -> Any:
    """Return the value as it is; raise ValueError, naming the place, for what JSON or a database could not keep.

    That is: nesting deeper than MAX_DEPTH, NaN and infinity, text that is not valid Unicode or holds a NUL, keys that
    are not text, and anything that JSON has no type for.
    """
    _check(value, "", MAX_DEPTH)
    return value


def _check(value: Any, path: str, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, dict):
        _check_depth(path, depth)
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"keys must be text, and {_shown(path)} has the key {key!r}")  # noqa: TRY004 pydantic's
            _check_text(key, path)
            _check(item, f"{path}.{key}", depth - 1)
    elif isinstance(value, list):
        _check_depth(path, depth)
        for item in value:
            _check(item, f"{path}[]", depth - 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{_shown(path)} is {value}, which JSON cannot hold; use a finite number or null")
    elif value is not None and not isinstance(value, int):
        raise ValueError(f"{_shown(path)} is a {type(value).__name__}, which is not JSON")


def _check_depth(path: str, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels at {_shown(path)}")


def _check_text(text: str, path: str) -> None:
    if "\0" in text:
        raise ValueError(f"{_shown(path)} holds a NUL character, which no environment, command or database takes")
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{_shown(path)} is not valid Unicode text (a lone surrogate)") from error


def _shown(path: str) -> str:
    path = path.removeprefix(".").encode(errors="replace").decode().replace("\0", "?")
    return f"{path[:100]}…" if len(path) > 100 else path or "the value"  # noqa: PLR2004 characters; enough to find it


PlainObject = Annotated[dict[str, Any], AfterValidator(check_plain)]
PlainTexts = Annotated[dict[str, str], AfterValidator(check_plain)]
