"""JSON bodies, read strictly: no NaN, no infinity, no NUL, no unknown field. One parse and one validation."""

import re
from math import isinf
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import Request

from raysvc.api.invalid import Malformed, field_errors
from raysvc.errors import Invalid

M = TypeVar("M", bound=BaseModel)

# What a NUL, or a number that no float holds, looks like. They are rare, and only then is the value walked through.
_WORDS = (b"\\u0000", b"NaN", b"Infinity")
_HUGE = re.compile(rb"[0-9](?:[eE]\+?[0-9]{3}|[0-9]{299})")


async def read(request: Request, model: type[M]) -> M:
    """Return the body as a model; raises Invalid with every wrong field, HTTPException 415 for what is not JSON.

    Types are taken at their word: `false` is no number, and "5" neither.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, "Send the body as JSON, with `Content-Type: application/json`.")
    raw = await request.body()
    if not raw or _suspect(raw):
        parse(raw)
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise Malformed(field_errors(error.errors(include_url=False, include_input=False), model=model)) from error


def parse(raw: bytes) -> Any:
    """Return the JSON value; raises Invalid where it is none, or holds what not every store or cluster can keep."""
    if not raw:
        raise Invalid("The body is empty; this takes a JSON object.", field="body")
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise Invalid(f"The body is not valid JSON: {error}.", field="body") from error
    if _suspect(raw):
        _check(value)
    return value


def _suspect(raw: bytes) -> bool:
    # Not by one pattern: with words in it, it is tried at each byte, which takes three times as long.
    return any(word in raw for word in _WORDS) or _HUGE.search(raw) is not None


def _check(value: Any) -> None:
    match value:
        case dict():
            for key, item in value.items():
                _check(key)
                _check(item)
        case list():
            for item in value:
                _check(item)
        case str() if "\0" in value:
            raise Invalid("The body holds a NUL character (\\u0000), which no command or label may have.", field="body")
        case float() if isinf(value):
            raise Invalid("The body holds a number too large for a float.", field="body")
