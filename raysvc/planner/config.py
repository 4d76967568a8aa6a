"""Typed access to a model's `config.json`, with errors that name the field."""

import json
from collections.abc import Mapping
from typing import Any

from raysvc.errors import Invalid
from raysvc.planner.family import class_defaults
from raysvc.planner.source import CONFIG, MAX_CONFIG, Source

# No number of a real config comes near it; what is worked out from it stays within a float.
_MOST = 10**12
# Where multimodal configs keep the language model, in the order of transformers' `get_text_config`.
_TEXT_KEYS = ("text_config", "llm_config", "language_config", "thinker_config")


class Config:
    """A config.json. Fields are looked up in the language model's part, at the top, and in the class's defaults."""

    def __init__(self, label: str, raw: Mapping[str, Any]) -> None:
        self.label = label
        self.raw = raw
        text: Mapping[str, Any] = raw
        for _ in range(2):  # thinker_config.text_config
            nested = next((text[key] for key in _TEXT_KEYS if isinstance(text.get(key), Mapping)), None)
            text = nested if nested is not None else text
        self.text = text
        self.defaults = class_defaults(self.model_type)

    def get(self, *names: str) -> Any:
        """Return the first of these fields that is there and not null; the class's default where none is there."""
        for place in (self.text, self.raw):
            for name in names:
                if place.get(name) is not None:
                    return place[name]
        if any(name in self.text for name in names):
            return None
        return next((self.defaults[name] for name in names if name in self.defaults), None)

    def number(self, *names: str, default: int | None = None) -> int:
        """Return a field that must be a whole number ≥ 0. Raises Invalid where it is not, or is missing."""
        value = self.get(*names)
        if isinstance(value, list) and value and len(set(map(str, value))) == 1:
            value = value[0]  # Ernie writes one number per layer kind
        if value is None:
            if default is None:
                raise self.invalid(f"has no {names[0]}", names[0])
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.invalid(f"{names[0]} must be a whole number, not {str(value)[:40]!r}", names[0])
        if value > _MOST:
            raise self.invalid(f"{names[0]} is larger than any model's", names[0])
        return value

    def positive(self, *names: str, default: int | None = None) -> int:
        value = self.number(*names, default=default)
        if value < 1:
            raise self.invalid(f"{names[0]} must be at least 1", names[0])
        return value

    def flag(self, *names: str, default: bool = False) -> bool:
        value = self.get(*names)
        return default if value is None else bool(value)

    def text_of(self, *names: str) -> str:
        value = self.get(*names)
        return value if isinstance(value, str) else ""

    def strings(self, *names: str) -> tuple[str, ...]:
        value = self.get(*names)
        return tuple(map(str, value)) if isinstance(value, list | tuple) else ()

    def numbers(self, *names: str) -> tuple[int, ...]:
        value = self.get(*names)
        if not isinstance(value, list | tuple):
            return ()
        return tuple(item for item in value if isinstance(item, int) and not isinstance(item, bool))

    def table(self, *names: str) -> Mapping[str, Any]:
        value = self.get(*names)
        return value if isinstance(value, Mapping) else {}

    @property
    def model_type(self) -> str:
        value = self.text.get("model_type") or self.raw.get("model_type")
        return value if isinstance(value, str) else ""

    @property
    def architecture(self) -> str:
        names = self.raw.get("architectures") or self.text.get("architectures")
        return str(names[0]) if isinstance(names, list) and names else ""

    def invalid(self, problem: str, field: str) -> Invalid:
        return Invalid(f"{self.label}: config.json {problem}.", field=field)


def read_config(source: Source) -> Config:
    """Return the source's config.json. Raises NotFound where there is none, Invalid where it is no JSON object."""
    size = source.size(CONFIG)
    if size is None:
        raise Invalid(f"{source.label} has no config.json: is it a Hugging Face model directory?", field="model")
    if size > MAX_CONFIG:
        raise Invalid(f"{source.label}: a config.json of {size} bytes is none.", field="model")
    try:
        raw = json.loads(source.read(CONFIG, offset=0, length=size))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{source.label}: config.json does not parse: {error}.", field="model") from error
    if not isinstance(raw, dict):
        raise Invalid(f"{source.label}: config.json must be an object, not a {type(raw).__name__}.", field="model")
    return Config(source.label, raw)
