"""Prompts in, and how they are cut into shards."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, parquet
from train_lm.errors import UsageProblem

BUILT_IN = "built-in"
COLUMN = "prompt"
_BUILT_IN_PROMPTS = (
    "The following", "A class is", "The import statement", "If the value", "An exception", "Each argument",
    "Note that", "The result of", "When a function", "A list is", "In this case", "The default value",
)  # fmt: skip


def read_prompts(source: str) -> list[str]:
    """Return the prompts of a source, in order.

    `source`: "built-in", or a file: .jsonl (one object with `prompt` a line), .parquet (a column `prompt`), or text
    (one prompt a line; empty lines are none). Raises UsageProblem, with the line, where it is not that.
    """
    if source == BUILT_IN:
        return list(_BUILT_IN_PROMPTS)
    path = Path(source)
    try:
        if path.suffix == ".parquet":
            prompts = parquet.read_table(path, columns=[COLUMN])[COLUMN].to_pylist()
        elif path.suffix in {".jsonl", ".ndjson"}:
            prompts = [_field(line, f"{source}:{n}") for n, line in enumerate(_lines(path), start=1) if line.strip()]
        else:
            prompts = [line for line in _lines(path) if line.strip()]
    except (OSError, ArrowException, KeyError, UnicodeDecodeError) as problem:
        message = f"--prompts {source} cannot be read: {problem}"
        raise UsageProblem(message) from problem
    wrong = next((number for number, prompt in enumerate(prompts) if not isinstance(prompt, str)), None)
    if wrong is not None:
        message = f"--prompts {source}: prompt {wrong} (from 0) is not a text."
        raise UsageProblem(message)
    if not prompts:
        message = f"--prompts {source} holds no prompt."
        raise UsageProblem(message)
    return prompts


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")


def _field(line: str, where: str) -> Any:
    try:
        return json.loads(line)[COLUMN]
    except (ValueError, TypeError, KeyError) as problem:
        message = f"--prompts {where} is not a JSON object with {COLUMN!r}: {line[:80]}"
        raise UsageProblem(message) from problem


def cut(prompts: Sequence[str], size: int) -> list[dict[str, Any]]:
    """Return the shards: rows of Ray Data, each with its number, its first prompt's index, and its prompts."""
    starts = range(0, len(prompts), size)
    return [{"shard": n, "first": start, "prompts": prompts[start : start + size]} for n, start in enumerate(starts)]


def digest(prompts: Sequence[str]) -> str:
    """Return the SHA-256 of the prompts and their order."""
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()
