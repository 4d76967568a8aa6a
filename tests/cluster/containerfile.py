"""What a Containerfile says about the image's start: of its last stage, and those instructions that we use."""

import json
from typing import Any

_LISTS = {"ENTRYPOINT": "Entrypoint", "CMD": "Cmd"}
_TEXTS = {"USER": "User", "WORKDIR": "WorkingDir"}


def config_of(text: str) -> dict[str, Any]:
    """Return the configuration of the image, as the image itself keeps it."""
    config: dict[str, Any] = {}
    for name, _, rest in (line.partition(" ") for line in _lines(text)):
        match name:
            case "FROM":
                config = {}
            case "ENV":
                config.setdefault("Env", []).extend(rest.split())
            case "ENTRYPOINT" | "CMD":
                config[_LISTS[name]] = json.loads(rest)
            case "USER" | "WORKDIR":
                config[_TEXTS[name]] = rest
    return config


def _lines(text: str) -> list[str]:
    whole = text.replace("\\\n", " ")
    return [line.strip() for line in whole.splitlines() if line.strip() and not line.startswith("#")]
