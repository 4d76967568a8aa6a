"""How far a job is, from the lines it writes to `metrics.jsonl` in RAYSVC_OUTPUT_DIR. Pure.

Each line is a JSON object with a whole `step` and numbers under names of its own (`loss`, `tokens_per_s` …);
`total_steps` in it says where the steps end. After a restart from a checkpoint the same steps come again.
"""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import Field

from raysvc.domain.model import Model

FILE = "metrics.jsonl"
TOTAL = "total_steps"
_MOST_STEPS = 1 << 53
_LARGEST = 1e300
Point = dict[str, float | int | None]


class Progress(Model):
    """Where the job is now. `fraction` is None where the job does not say how many steps there will be."""

    step: int
    total: int | None = None
    fraction: float | None = Field(default=None, ge=0, le=1)
    metrics: dict[str, float | int | None] = Field(default_factory=dict, description="the numbers of the last step")


class Series(Model):
    """A point a step, ascending, thinned out. `total` counts the steps there were; `truncated`: the first are gone."""

    points: tuple[Point, ...]
    total: int
    truncated: bool = False


def parse(line: bytes) -> Point | None:
    """Return a line's step and numbers; None for a line that has none, such as one cut off."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not _is_step(row.get("step")):
        return None
    return {str(key): _number(value) for key, value in row.items() if _is_number(value)}


def fold(lines: Iterable[bytes]) -> list[Point]:
    """Return the last point of each step, in the order of the steps."""
    points = {point["step"]: point for line in lines if (point := parse(line)) is not None}
    return [points[step] for step in sorted(points, key=lambda step: step or 0)]


def thin(points: list[Point], limit: int) -> list[Point]:
    """Return at most `limit` (≥ 2) points, evenly chosen, with the first and the last."""
    if len(points) <= limit:
        return points
    stride = (len(points) - 1) / (limit - 1)
    return [points[round(index * stride)] for index in range(limit)]


def latest(lines: Iterable[bytes]) -> Progress | None:
    """Return the progress that the last whole line tells of; None where there is none."""
    for line in reversed(list(lines)):
        point = parse(line)
        if point is not None:
            return _progress(point)
    return None


def _progress(point: Point) -> Progress:
    step, total = int(point["step"] or 0), point.get(TOTAL)
    whole = int(total) if total is not None and total >= 1 else None
    return Progress(
        step=step,
        total=whole,
        fraction=None if whole is None else min(1.0, max(0.0, step / whole)),
        metrics={key: value for key, value in point.items() if key not in {"step", TOTAL}},
    )


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_STEPS


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> float | int | None:
    """Return the number; None for one that JSON cannot carry or nobody can draw: NaN, infinity and their neighbours."""
    return value if -_LARGEST < value < _LARGEST else None
