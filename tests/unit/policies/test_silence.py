"""What a file had nothing to say of, it is not asked again; whatever differs in what its rules read, it is."""

import json
from typing import Any

import pytest

from raysvc.domain.admission import Warn
from raysvc.domain.project import Role
from raysvc.policies.view import Views
from tests.unit.policies.submission import Write, admission, review

# An expression that is false of the first submission and true of the second.
DIFFERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    'job.id == "b"': ({"job_id": "a"}, {"job_id": "b"}),
    'project == "b"': ({"project": "a"}, {"project": "b"}),
    'owner == "b"': ({"owner": "a"}, {"owner": "b"}),
    'role == "admin"': ({"role": Role.VIEWER}, {"role": Role.ADMIN}),
    "job.priority == 2": ({"priority": 1}, {"priority": 2}),
    "job.demand.gpus > 1": ({"resources": {"gpus": 1}}, {"resources": {"gpus": 2}}),
    'job.image == "b"': ({"runtime_env": {"image_uri": "a"}}, {"runtime_env": {"image_uri": "b"}}),
    'job.images.exists(i, i == "b")': ({"runtime_env": {"container": "a"}}, {"runtime_env": {"container": "b"}}),
    'job.driver == "warm"': ({"driver": "ray"}, {"driver": "warm"}),
    "type(job.runtime_env.x) == bool": ({"runtime_env": {"x": 1}}, {"runtime_env": {"x": True}}),
    "type(job.runtime_env.x) == double": ({"runtime_env": {"x": 1}}, {"runtime_env": {"x": 1.0}}),
    "has(job.timeout_s)": ({}, {"timeout_s": 1}),
    'size(job) > 0 && has(job.name) && job.name == "n"': ({"name": "m"}, {"name": "n"}),
    '"x" in job.labels': ({}, {"labels": {"x": ""}}),
}


@pytest.mark.parametrize("when", DIFFERS)
async def test_what_rules_read_is_told_apart(policies: Write, when: str) -> None:
    quiet, loud = (admission(**fields) for fields in DIFFERS[when])
    files = policies(f"{{policy: p, rules: [{{name: r, when: {json.dumps(when)}, warn: true, message: m}}]}}")
    for _ in range(2):
        assert await review(files, quiet) == []
        assert await review(files, loud) == [Warn(rule="r", message="m")]


async def test_what_no_rule_reads_makes_no_difference(policies: Write) -> None:
    [file] = policies("{policy: p, rules: [{name: r, when: job.priority > 5, deny: true, message: m}]}")
    assert await file.review(admission(entrypoint="a", priority=1)) == []
    view = file.views.of(admission(entrypoint="b", priority=1, job_id="other"))
    assert list(file.steps(view)) == []
    assert "context" not in vars(view), "the rules were evaluated again"


async def test_a_file_that_spoke_speaks_again(policies: Write) -> None:
    files = policies(
        """
        policy: p
        rules:
        - {name: w, when: job.priority == 1, warn: true, message: one}
        - {name: s, when: job.priority == 2, set: {queue: '"two"'}}
        - {name: d, when: job.priority == 3, deny: true, message: three}
        - {name: e, when: 1 / job.priority == 5, warn: true, message: five}
        """
    )
    for priority in (0, 1, 2, 3):
        asked = admission(priority=priority)
        once = await review(files, asked)
        assert len(once) == 1
        assert await review(files, asked) == once


async def test_the_checks_after_a_webhook_say_nothing_for_the_rules_that_set(policies: Write) -> None:
    [file] = policies("{policy: p, rules: [{name: s, when: job.priority == 1, set: {queue: '\"two\"'}}]}")
    view = file.views.of(admission(priority=1))
    assert list(file.steps(view, only_checks=True)) == []
    assert [step.rule.name for step in file.steps(view)] == ["s"]


def test_a_long_key_is_none(policies: Write) -> None:
    [file] = policies("{policy: p, rules: [{name: r, when: size(job) > 99, deny: true, message: m}]}")
    fields: dict[str, Any] = {"entrypoint": "x" * 3000}
    assert file.views.of(admission(**fields)).key is None
    assert Views(()).of(admission(**fields)).key is not None
