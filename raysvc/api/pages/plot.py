"""A small line plot: numbers in, the coordinates of an SVG out. Pure; the template draws it."""

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from raysvc.control.progress import Point

LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 30


class Tick(NamedTuple):
    at: float
    label: str


class Curve(NamedTuple):
    """`path` is the `d` of an SVG path; `last` what the curve ends at."""

    name: str
    path: str
    last: str


class Plot(NamedTuple):
    """Curves over steps, in SVG units. `summary` says in words what it shows."""

    curves: tuple[Curve, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str
    width: int
    height: int
    left: int = LEFT

    @property
    def right(self) -> int:
        return self.width - RIGHT

    @property
    def bottom(self) -> int:
        return self.height - BOTTOM


class _Axis(NamedTuple):
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def plot(points: Sequence[Point], names: Sequence[str], width: int = 640, height: int = 220) -> Plot | None:
    """Return the plot of those numbers over `step`; None where fewer than two points have one of them."""
    values = [float(v) for point in points for name in names if (v := point.get(name)) is not None]
    if len(points) < 2 or len(values) < 2:  # noqa: PLR2004 a line has two ends
        return None
    steps = [float(point["step"] or 0) for point in points]
    y_ticks = ticks(min(values), max(values))
    x = _Axis(steps[0], steps[-1], LEFT, width - RIGHT)
    y = _Axis(min(y_ticks[0], *values), max(y_ticks[-1], *values), height - BOTTOM, TOP)
    curves = tuple(
        Curve(name, path, number(last))
        for name in names
        if (path := _path(points, name, x, y)) and (last := _last(points, name)) is not None
    )
    said = ", ".join(f"{curve.name} ends at {curve.last}" for curve in curves)
    inside = [step for step in ticks(steps[0], steps[-1], width // 100) if steps[0] <= step <= steps[-1]]
    return Plot(
        curves=curves,
        x_ticks=tuple(Tick(x.at(step), number(step)) for step in inside),
        y_ticks=tuple(Tick(y.at(value), number(value)) for value in y_ticks),
        summary=f"Steps {number(steps[0])} to {number(steps[-1])}: {said}.",
        width=width,
        height=height,
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) that enclose low to high."""
    size = max(abs(low), abs(high))
    if high - low <= max(size * 1e-9, 1e-300):  # flat, as far as a drawing can show
        low, high = low - size / 2 - 0.5, high + size / 2 + 0.5
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def number(value: float) -> str:
    """Return the number as short as it can be read: 5.4k, 0.00031, 7.62."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            scale = 1e3 if letter == "k" else size
            return f"{value / scale:.3g}{letter}"
    return f"{value:.4g}"


def _path(points: Iterable[Point], name: str, x: _Axis, y: _Axis) -> str:
    """Return the SVG path; a step without the number breaks the line."""
    parts, drawing = [], False
    for point in points:
        value = point.get(name)
        if value is None:
            drawing = drawing and name not in point  # NaN breaks the line; a step that does not tell does not
            continue
        parts.append(f"{'L' if drawing else 'M'}{x.at(float(point['step'] or 0))} {y.at(float(value))}")
        drawing = True
    return " ".join(parts)


def _last(points: Sequence[Point], name: str) -> float | None:
    return next((v for point in reversed(points) if (v := point.get(name)) is not None), None)
