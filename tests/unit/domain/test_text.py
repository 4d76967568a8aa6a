"""What text may come in, and that nothing of it costs more than it is long."""

from time import process_time
from typing import Any

import pytest

from raysvc.domain.job import JobSpec
from raysvc.domain.plain import check_plain
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.domain.text import (
    LONGEST_KEY,
    LONGEST_VALUE,
    MOST_LABELS,
    check_idempotency_key,
    check_line,
    check_prose,
    check_spec,
)
from raysvc.errors import Invalid

GOOD = ["", "a", "naïve – résumé", "训练", "👩‍👩‍👧 family", "a\u00a0b", "שלום", "tab-less"]
BAD = ["\0", "a\nb", "a\rb", "a\tb", "\x1b[31m", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\u202e", "\u2066"]


@pytest.mark.parametrize("text", GOOD)
def test_a_line_of_any_script_passes(text: str) -> None:
    check_line(text, "name")
    check_prose(text, "message")


@pytest.mark.parametrize("text", BAD)
def test_a_line_with_what_no_line_has_is_refused_by_its_number(text: str) -> None:
    with pytest.raises(Invalid, match=r"^name holds the character U\+[0-9A-F]{4}") as caught:
        check_line(f"ok{text}", "name")
    assert caught.value.field == "name"
    assert caught.value.message.isprintable()


def test_prose_has_lines_and_tabs_and_nothing_else() -> None:
    check_prose("one\n\ttwo\r\n", "message")
    for text in ("\0", "\x1b", "\x9b", "\u202e"):
        with pytest.raises(Invalid):
            check_prose(text, "message")


@pytest.mark.parametrize("key", ["", "a" * 256, "a\0", "a\n", "a\u2028"])
def test_an_idempotency_key_is_short_and_printable(key: str) -> None:
    check_idempotency_key("a" * 255)
    check_idempotency_key("sweep 7/1 – ü")
    with pytest.raises(Invalid):
        check_idempotency_key(key)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"entrypoint": "a\0"}, "entrypoint"),
        ({"name": "\n"}, "name"),
        ({"labels": {"": "a"}}, "labels"),
        ({"labels": {"k" * (LONGEST_KEY + 1): "a"}}, "labels"),
        ({"labels": {"k": "v" * (LONGEST_VALUE + 1)}}, "labels"),
        ({"labels": {str(n): "" for n in range(MOST_LABELS + 1)}}, "labels"),
        ({"label_selector": {"a": "\n"}}, "label_selector"),
        ({"code": {"kind": "image", "image": "a\nb"}}, "code.image"),
        ({"code": {"kind": "archive", "uri": "https://a\x7f"}}, "code.uri"),
        ({"resources": {"custom": {"a\x1b": 1}}}, "resources.custom"),
        ({"resources": {"custom": {str(n): 1 for n in range(65)}}}, "resources.custom"),
        ({"shape": {"workers": [{"name": "\r"}]}}, "shape.workers"),
        ({"shape": {"workers": [{}] * 65}}, "shape.workers"),
        ({"shape": {"workers": [{"name": "w" * 129}]}}, "shape.workers"),
        ({"resources": {"custom": {"c" * 129: 1}}}, "resources.custom"),
        ({"secrets": {f"V{n}": "ONE" for n in range(257)}}, "secrets"),
        ({"runtime_env": {"env_vars": {"A": "x" * (256 << 10)}}}, "runtime_env"),
        ({"metadata": {str(n): "x" * 1000 for n in range(300)}}, "runtime_env"),
    ],
)
def test_a_spec_is_refused_by_its_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_spec(JobSpec.model_validate({"entrypoint": "true", **spec}))
    assert caught.value.field == field


def test_what_jobs_really_have_passes() -> None:
    check_spec(
        JobSpec(
            entrypoint="cd app &&\n\tpython train.py --name='größe'",
            name="Größe 7 – 训练",
            labels={"team.example.com/name": "nlp", "empty": ""},
            metadata={"note": "two\nlines"},
            runtime_env={"env_vars": {"PS1": "\x1b[0m"}},
        )
    )


@pytest.mark.parametrize("value", [{"a": "\0"}, {"\0": 1}, {"a": [{"b": "x\0y"}]}])
def test_no_nul_in_plain_json(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="NUL"):
        check_plain(value)


def test_the_demand_of_many_groups_is_their_sum_in_one_pass() -> None:
    groups = tuple(
        WorkerGroup(scale=Scale(want=2, max=2), resources=Resources(cpus=1, memory=3, custom={"all": 1, f"n{n}": 0.5}))
        for n in range(20_000)
    )
    began = process_time()
    demand = Shape(workers=groups).demand()
    # It grew with the square of the groups, and took minutes of the server's loop for a body of 1 MiB.
    assert process_time() - began < 30
    assert (demand.cpus, demand.memory, demand.custom["all"], demand.custom["n7"]) == (40_000, 120_000, 40_000, 1)
