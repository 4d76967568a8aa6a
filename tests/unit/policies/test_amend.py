"""Applying a policy's changes to a spec."""

from typing import Any

import pytest

from raysvc.domain.admission import amend
from raysvc.domain.job import ImageCode, JobSpec
from raysvc.errors import Invalid

SPEC = JobSpec(
    entrypoint="python train.py",
    labels={"team": "vision"},
    runtime_env={"pip": ["torch"], "env_vars": {"A": "1"}},
    timeout_s=60,
    code=ImageCode(image="old"),
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"priority": 10}, {"priority": 10}),
        ({"labels.owner": "ada"}, {"labels": {"team": "vision", "owner": "ada"}}),
        ({"labels.example.com/cost-center": "7"}, {"labels": {"team": "vision", "example.com/cost-center": "7"}}),
        ({"labels": {}}, {"labels": {}}),
        ({"labels.team": None}, {"labels": {}}),
        ({"labels.absent": None}, {}),
        ({"timeout_s": None}, {"timeout_s": None}),
        ({"runtime_env.env_vars.B": "2"}, {"runtime_env": {"pip": ["torch"], "env_vars": {"A": "1", "B": "2"}}}),
        ({"runtime_env.pip": None}, {"runtime_env": {"env_vars": {"A": "1"}}}),
        (
            {"runtime_env.config.setup_timeout_seconds": 5},
            {"runtime_env": SPEC.runtime_env | {"config": {"setup_timeout_seconds": 5}}},
        ),
        (
            {"retry.user": 2, "queue": "nightly"},
            {"retry": SPEC.retry.model_copy(update={"user": 2}), "queue": "nightly"},
        ),
        ({"code.image": "new"}, {"code": ImageCode(image="new")}),
        (
            {"resources.custom.special": 1},
            {"resources": SPEC.resources.model_copy(update={"custom": {"special": 1.0}})},
        ),
        ({}, {}),
    ],
)
def test_a_path_is_set_and_nothing_else(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    before = SPEC.model_copy(deep=True)
    assert amend(SPEC, changes) == SPEC.model_copy(update=expected)
    assert before == SPEC, "the spec that was given is as it was"


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"prority": 1}, "prority", "a job has no such field; its fields are entrypoint, name"),
        ({"": 1}, "", "no such field"),
        ({"labels.": "x"}, "labels.", "no such field"),
        ({"runtime_env..x": 1}, "runtime_env..x", "no such field"),
        ({"priority": "high"}, "priority", "valid integer"),
        ({"priority": 5000}, "priority", "less than or equal to 1000"),
        ({"labels.n": 1}, "labels.n", "valid string"),
        ({"entrypoint": None}, "entrypoint", "required"),
        ({"entrypoint.x": "y"}, "entrypoint.x", "entrypoint is not a map"),
        ({"runtime_env.pip.x": "y"}, "runtime_env.pip.x", "runtime_env.pip is not a map"),
        ({"retry.usr": 1}, "retry.usr", "not permitted"),
        ({"runtime_env.a": float("nan")}, "runtime_env", "nan"),
        ({"metadata.a": "\ud800"}, "metadata", "not valid Unicode"),
        ({"queue": "Bad Name"}, "queue", "match pattern"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_by_rule_and_path(changes: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        amend(SPEC, changes, rule="defaults")
    assert caught.value.field == field
    assert caught.value.rule == "defaults"
    assert caught.value.message.startswith(f"Rule defaults cannot set {field}")
    assert says in caught.value.message


def test_the_changes_themselves_stay_as_they_are() -> None:
    changes: dict[str, Any] = {"labels": {"a": "1"}, "labels.b": "2"}
    assert amend(SPEC, changes).labels == {"a": "1", "b": "2"}
    assert changes == {"labels": {"a": "1"}, "labels.b": "2"}
