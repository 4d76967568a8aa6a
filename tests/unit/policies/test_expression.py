"""CEL as we let it in: which functions, which fields, how deep."""

import contextlib

import pytest

from raysvc.policies.expression import FUNCTIONS, BadExpression, compile_expression

WORKING = {
    "size": "size(job.labels) == 0",
    "contains": "project.contains('a')",
    "startsWith": "project.startsWith('a')",
    "endsWith": "project.endsWith('a')",
    "matches": "project.matches('a')",
    "type": "type(job.priority) == int",
    "dyn": "dyn(1) == 1",
    "int": "int('1') == 1",
    "uint": "uint('1') == 1u",
    "double": "double(1) == 1.0",
    "string": "string(1) == '1'",
    "bytes": "bytes('a') == b'a'",
    "timestamp": "timestamp('2026-01-01T00:00:00Z') < timestamp('2027-01-01T00:00:00Z')",
    "duration": "duration('1h') > duration('1m')",
    **{
        name: f"timestamp('2026-01-01T00:00:00Z').{name}() >= 0"
        for name in ("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear")
    },
    **{
        name: f"timestamp('2026-01-01T00:00:00Z').{name}() == 0"
        for name in ("getHours", "getMinutes", "getSeconds", "getMilliseconds")
    },
    "of": "optional.of(1).hasValue()",
    "none": "!optional.none().hasValue()",
    "ofNonZeroValue": "!optional.ofNonZeroValue(0).hasValue()",
    "value": "optional.of(1).value() == 1",
    "hasValue": "optional.of(1).hasValue()",
    "orValue": "optional.none().orValue(1) == 1",
    "or": "optional.none().or(optional.of(1)).value() == 1",
}


def test_every_function_that_we_let_in_is_one_that_the_evaluator_has() -> None:
    assert set(WORKING) == FUNCTIONS
    for name, source in WORKING.items():
        expression = compile_expression(source)
        variables = {"project": "a", "job": {"labels": {}, "priority": 1}}
        assert isinstance(expression.program.execute(variables), bool), name


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("true", set()),
        ("job.priority > 1", {"priority"}),
        ("job.demand.gpus > 1 && has(job.labels.team)", {"demand", "labels"}),
        ("job . name == 'job.queue'", {"name"}),
        ('project == "it\'s job.queue" // job.owner', set()),
        ("job.labels.exists(job_name, job_name == 'x')", {"labels"}),
        ("size(job) > 1", None),
        ("job['priority'] == 1", None),
        ("[job].exists(x, x.priority == 1)", None),
        ("job.runtime_env.job.nonsense == 1", {"runtime_env"}),
    ],
)
def test_an_expression_knows_which_fields_it_reads(source: str, fields: set[str] | None) -> None:
    assert compile_expression(source).fields == fields


@pytest.mark.parametrize(
    "source", ["(" * 999 + "1" + ")" * 999, "!" * 1990 + "true", "-" * 1990 + "1", "1" + "+1" * 990]
)
def test_deep_nesting_within_the_limit_is_refused_or_works(source: str) -> None:
    with contextlib.suppress(BadExpression):
        compile_expression(source).program.execute({})
