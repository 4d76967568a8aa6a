"""References to secrets: where they may stand in a spec, and how they are replaced. Values never enter a record."""

import re
from collections.abc import Callable
from typing import Any

from raysvc.domain.job import JobSpec

_REFERENCE = re.compile(r"\$\{secret:([A-Za-z_][A-Za-z0-9_]{0,127})\}")


def references(spec: JobSpec) -> list[str]:
    """Return the names of the secrets that a spec needs: `secrets`, and `${secret:NAME}` anywhere in runtime_env."""
    names = dict.fromkeys(spec.secrets.values())
    if spec.runtime_env:
        substitute(spec.runtime_env, lambda name: names.setdefault(name) or "")
    return list(names)


def substitute(value: Any, lookup: Callable[[str], str]) -> Any:
    """Return the JSON value with each `${secret:NAME}` in its strings replaced by `lookup(NAME)`."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: lookup(match[1]), value) if "${secret:" in value else value
    if isinstance(value, dict):
        return {key: substitute(item, lookup) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, lookup) for item in value]
    return value
