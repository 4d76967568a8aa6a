"""Taking the values of env_vars out of what a cluster says: a job's secrets are there in plain text.

Ray does so itself for browsers, from 2.60 on; a cluster may be older or have it switched off.
"""

import json
from typing import Any

from raysvc.errors import Unavailable

PLACEHOLDER = "<redacted>"
# The keys under which a runtime_env stands in Ray's JSON: as a map, as JSON in text, or as a map that holds the latter.
_RUNTIME_ENV = frozenset(
    {"runtime_env", "runtimeEnv", "serialized_runtime_env", "serializedRuntimeEnv", "runtime_env_json"}
)
_ENV_VARS = frozenset({"env_vars", "envVars"})


def redacted(body: bytes) -> bytes:
    """Return the JSON with the value of each environment variable replaced. Raises Unavailable for what is no JSON."""
    try:
        return json.dumps(redact(json.loads(body))).encode() if body else body
    except (ValueError, RecursionError) as error:
        raise Unavailable("The cluster's answer is not JSON, so secrets cannot be taken out of it.") from error


def redact(value: Any) -> Any:
    """Return a copy of the JSON value without the values of environment variables."""
    if isinstance(value, list):
        return [redact(item) for item in value]
    if isinstance(value, dict):
        return {key: _entry(key, item) for key, item in value.items()}
    return value


def _entry(key: str, value: Any) -> Any:
    if key in _ENV_VARS and value is not None:
        return dict.fromkeys(value, PLACEHOLDER) if isinstance(value, dict) else PLACEHOLDER
    if key in _RUNTIME_ENV and isinstance(value, str):
        return _text(value)
    return redact(value)


def _text(text: str) -> str:
    if not text:
        return text
    try:
        return json.dumps(redact(json.loads(text)))
    except (ValueError, RecursionError):
        return PLACEHOLDER  # what cannot be read may hold anything
