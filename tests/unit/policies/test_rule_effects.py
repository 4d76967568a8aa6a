"""What rules set, what they say where they fail, and how they stand hostile submissions."""

import asyncio
from typing import Any

import pytest

from raysvc.domain.admission import Amend, Deny, Warn

from .submission import AT_MOST_8_GPUS, Write, admission, gpus, review

UNLABELLED = """
    policy: labels
    rules:
    - name: unlabelled
      when: '!("cost-center" in job.labels)'
      deny: true
      message: Label each job with its cost-center.
"""
SETS = """
    policy: defaults
    rules:
    - name: research
      when: project == "research" && job.priority == 0
      set:
        priority: 10
        labels.team: '"research"'
        labels.example.com/by: owner
        timeout_s: 24 * 3600
        runtime_env.env_vars.GPUS: string(job.demand.gpus)
      message: Defaults of {project}.
    - name: sees-what-was-set
      when: job.priority == 10 && job.labels.team == "research" && job.runtime_env.env_vars.GPUS == "2"
      warn: true
      message: "{job.labels.team} at {job.priority}"
"""


async def test_what_a_rule_sets_is_seen_by_later_rules_and_files(policies: Write) -> None:
    later = """
        policy: later
        rules:
        - name: too-high
          when: job.priority > 5
          deny: true
          message: No priorities above 5, not even {job.priority}.
    """
    verdicts = await review(policies(SETS, later), admission(project="research", resources={"gpus": 2}))
    assert verdicts == [
        Amend(
            rule="research",
            message="Defaults of research.",
            changes={
                "priority": 10,
                "labels.team": "research",
                "labels.example.com/by": "ada",
                "timeout_s": 86400,
                "runtime_env.env_vars.GPUS": "2",
            },
        ),
        Warn(rule="sees-what-was-set", message="research at 10"),
        Deny(rule="too-high", message="No priorities above 5, not even 10."),
    ]


async def test_a_set_that_changes_nothing_is_not_an_amendment(policies: Write) -> None:
    same = """
        policy: same
        rules:
        - {name: a, set: {priority: 3, labels.gone: null}}
        - {name: b, set: {labels.a: '"x"'}}
    """
    verdicts = await review(policies(same), admission(priority=3))
    assert verdicts == [Amend(rule="b", message="b sets labels.a.", changes={"labels.a": "x"})]


async def test_in_warn_mode_nothing_is_refused_or_set(policies: Write) -> None:
    trial = "mode: warn\n" + "\n".join(line[4:] for line in AT_MOST_8_GPUS.splitlines())
    [verdict] = await review(policies(trial), admission(**gpus(driver=9)))
    assert verdict == Warn(
        rule="at-most-8-gpus",
        message="(not enforced yet) The job would be refused: A job may ask for at most 8 GPUs; this one asks for 9.",
    )
    trial = "mode: warn\n" + "\n".join(line[4:] for line in SETS.splitlines())
    asked = admission(project="research")
    [verdict] = await review(policies(trial), asked)
    assert isinstance(verdict, Warn)
    assert "would have priority, labels.team, labels.example.com/by" in verdict.message


FRAGILE = """
    policy: fragile
    rules:
    - name: team
      when: job.labels.team == "vision"
      EFFECT
"""


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        ("{deny: true, message: m}", Deny),
        ("{deny: true, message: m, on_error: closed}", Deny),
        ("{deny: true, message: m, on_error: open}", Warn),
        ("{warn: true, message: m}", Warn),
        ("{warn: true, message: m, on_error: closed}", Deny),
        ("{set: {priority: 1}}", Deny),
        ("{set: {priority: 1}, on_error: open}", Warn),
    ],
)
async def test_a_rule_that_cannot_be_evaluated_refuses_unless_it_is_open(
    policies: Write, effect: str, expected: type[Deny | Warn]
) -> None:
    text = FRAGILE.replace("EFFECT", f"<<: {effect}")
    [verdict] = await review(policies(text), admission())
    assert isinstance(verdict, expected)
    assert verdict.rule == "team"
    assert "The rule could not be evaluated" in verdict.message
    assert "there is no 'team' (guard with has(…) or `in`)" in verdict.message
    assert (await review(policies(text), admission(labels={"team": "nlp"}))) == []


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ('{when: "job.runtime_env.x", deny: true, message: m}', "it gives '3', neither true nor false"),
        ('{when: "1 / job.priority > 0", deny: true, message: m}', "division by zero"),
        (
            '{when: job.runtime_env.x.startsWith("a"), deny: true, message: m}',
            "startsWith does not take a value of this type",
        ),
        ('{set: {priority: "job.priority + 5000"}}', "less than or equal to 1000"),
        ('{set: {labels.x: "job.runtime_env.x"}}', "Rule r cannot set labels.x: Input should be a valid string"),
        ("{set: {nonsense: 1}}", "a job has no such field"),
    ],
)
async def test_a_refusal_of_a_failing_rule_says_what_failed(policies: Write, rule: str, why: str) -> None:
    text = f"policy: p\nrules:\n- {{name: r, {rule[1:]}"
    [verdict] = await review(policies(text), admission(runtime_env={"x": 3}))
    assert isinstance(verdict, Deny)
    assert why in verdict.message


def deep(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "fields",
    [
        {"runtime_env": deep(60)},
        {"runtime_env": {"env_vars": {f"V{n}": "x" * 100 for n in range(2000)}}},
        {"entrypoint": "é\u202e\U0001f600" * 1000},
        {"labels": {'x"]||true||job.labels["': "y"}},
        {"labels": {f"l{n}": "" for n in range(5000)}},
        {"runtime_env": {"n": 1 << 80, "m": -(1 << 80), "f": 1e308}},
    ],
    ids=["deep", "wide", "unicode", "a label that looks like CEL", "many labels", "huge numbers"],
)
async def test_hostile_specs_are_judged_like_any_other(policies: Write, fields: dict[str, Any]) -> None:
    everything = """
        policy: everything
        rules:
        - name: reads-all
          when: size(job) > 0 && job.demand.gpus > 8
          deny: true
          message: too many
    """
    assert await review(policies(everything), admission(**fields)) == []
    [verdict] = await review(policies(everything), admission(**fields, resources={"gpus": 9}))
    assert verdict == Deny(rule="reads-all", message="too many")


async def test_what_a_submitter_wrote_cannot_break_out_of_a_message(policies: Write) -> None:
    text = """
        policy: p
        rules:
        - name: r
          when: job.labels.x != ""
          deny: true
          message: "{{not CEL}} {job.labels.x} {job.labels.absent}"
    """
    hostile = "a\r\nX-Evil: 1\x1b[31m{owner}" + "z" * 10_000
    [verdict] = await review(policies(text), admission(labels={"x": hostile}))
    assert isinstance(verdict, Deny)
    assert verdict.message.startswith("{not CEL} a  X-Evil: 1 [31m{owner}zzz")
    assert verdict.message.endswith("… (unknown)")
    assert len(verdict.message) < 300
    assert verdict.message.isprintable()


async def test_many_submissions_at_once_do_not_mix(policies: Write) -> None:
    files = policies(SETS, AT_MOST_8_GPUS, UNLABELLED)

    async def one(number: int) -> None:
        await asyncio.sleep(0)
        asked = admission(
            project="research" if number % 2 else "other", **gpus(driver=number), labels={"n": str(number)}
        )
        said = {verdict.rule for verdict in await review(files, asked) if isinstance(verdict, Deny | Amend)}
        assert said == {"unlabelled"} | ({"research"} if number % 2 else set()) | (
            {"at-most-8-gpus"} if number > 8 else set()
        )

    await asyncio.gather(*(one(number) for number in range(200)))
