"""The pure parts of the pages: plots, words, the description of the API."""

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raysvc.api.pages.plot import number, plot, ticks
from raysvc.api.pages.reference import kind_of
from raysvc.api.pages.words import code, count, lasting, screen, size
from raysvc.control.progress import Point, thin


def test_a_plot_spans_its_frame() -> None:
    drawn = plot([{"step": 0, "loss": 4.0}, {"step": 50, "loss": 2.0}, {"step": 100, "loss": 0.0}], ("loss",))
    assert drawn is not None
    assert drawn.curves[0].path == f"M{drawn.left}.0 12.0 L340.0 101.0 L{drawn.right}.0 {drawn.bottom}.0"
    assert [tick.label for tick in drawn.y_ticks] == ["0", "1", "2", "3", "4"]
    assert [tick.label for tick in drawn.x_ticks][:2] == ["0", "20"]
    assert drawn.summary == "Steps 0 to 100: loss ends at 0."


def test_a_step_without_a_number_is_passed_over_and_nan_breaks_the_line() -> None:
    points: list[Point] = [
        {"step": 1, "a": 1.0},
        {"step": 2},
        {"step": 3, "a": 2.0},
        {"step": 4, "a": None},
        {"step": 5, "a": 3.0},
    ]
    drawn = plot(points, ("a",))
    assert drawn is not None
    assert [part[0] for part in drawn.curves[0].path.split(" ") if part[0] in "ML"] == ["M", "L", "M"]


@pytest.mark.parametrize(
    "points", [[], [{"step": 1, "loss": 1.0}], [{"step": 1}, {"step": 2}], [{"step": 1, "loss": None}] * 2]
)
def test_no_line_is_drawn_of_less_than_two_points(points: list[dict[str, float | int | None]]) -> None:
    assert plot(points, ("loss",)) is None


@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=30), st.integers(0, (1 << 53) - 31))
@example([0.0, 5e-324], 0)
@example([-1e300, 1e300], 0)
@example([1e-15, 3e-15], 0)
def test_a_plot_stays_in_its_frame(values: list[float], first: int) -> None:
    points: list[Point] = [{"step": first + i, "v": value} for i, value in enumerate(values)]
    drawn = plot(points, ("v",))
    assert drawn is not None
    numbers = [float(part.strip("ML")) for part in drawn.curves[0].path.split()]
    assert all(drawn.left <= x <= drawn.right for x in numbers[::2])
    assert all(0 <= y <= drawn.bottom for y in numbers[1::2])
    assert 2 <= len(drawn.y_ticks) <= 9


@given(st.floats(-1e15, 1e15), st.floats(0, 1e15))
@example(0.0, 5e-324)
@example(0.0, 3e-15)
def test_ticks_are_round_few_and_enclose(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 9
    assert found == sorted(found)
    slack = max(abs(low), span) * 1e-6 + 1e-300
    assert found[0] <= low + slack
    assert found[-1] >= low + span - slack


@given(st.integers(2, 50), st.integers(0, 400))
def test_thinning_keeps_the_ends_and_the_order(limit: int, length: int) -> None:
    points: list[Point] = [{"step": step} for step in range(length)]
    found = thin(points, limit)
    assert len(found) == min(limit, length)
    steps = [point["step"] or 0 for point in found]
    assert steps == sorted(set(steps))
    assert found[:1] + found[-1:] == points[:1] + points[-1:]


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (7.6213, "7.621"), (0.00031, "0.00031"), (5400, "5400"), (54321, "54.3k"), (3.2e9, "3.2G")],
)
def test_numbers_are_short(value: float, said: str) -> None:
    assert number(value) == said


def test_times_sizes_and_counts_are_for_people() -> None:
    assert [lasting(timedelta(seconds=s)) for s in (-5, 0.44, 61, 3600, 90061)] == [
        "0.0 s",
        "0.4 s",
        "1 min 1 s",
        "1 h",
        "1 d 1 h",
    ]
    assert [size(n) for n in (0, 1023, 1536, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert [count(n, "CPU") for n in (1, 2, 0.5)] == ["1 CPU", "2 CPUs", "0.5 CPUs"]


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m\n", "red\n"),
        (b"\x1b]0;title\x07text", "text"),
        (b"a\r\nb\r\n", "a\nb\n"),
        (b"10%\r20%\r30%", "30%"),
        (b"10%\r20%\r", "20%"),
        (b"bell\x07 nul\x00 tab\t", "bell nul tab\t"),
        (b"caf\xc3\xa9 \xff", "café �"),
    ],
)
def test_a_log_is_shown_as_a_terminal_would(log: bytes, shown: str) -> None:
    assert screen(log) == shown


def test_backticks_become_code_and_markup_stays_text() -> None:
    assert code("run `a <b>` & <i>") == "run <code>a &lt;b&gt;</code> &amp; &lt;i&gt;"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/components/schemas/Job"}, "Job"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string | null"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Job"}}, "[Job]"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "{string: number}"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"enum": ["a", "b"]}, '"a" | "b"'),
        ({"const": 1}, "1"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({}, "any"),
    ],
)
def test_a_schema_is_told_in_a_line(schema: dict[str, object], said: str) -> None:
    assert kind_of(schema) == said
