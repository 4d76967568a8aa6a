"""What rules say of submissions: the ones platform engineers write, and the jobs that try to get around them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from raysvc.domain.admission import Admission, Amend, Deny, Verdict, Warn, amend
from raysvc.domain.job import JobSpec
from raysvc.domain.project import Role
from raysvc.errors import Invalid
from raysvc.policies import PolicyFile

Write = Callable[..., tuple[PolicyFile, ...]]


def admission(**fields: Any) -> Admission:
    about = {key: fields.pop(key) for key in ("project", "owner", "role", "job_id") if key in fields}
    defaults = {"project": "vision", "owner": "ada", "role": Role.MEMBER, "job_id": "raysubmit_1"}
    return Admission(**(defaults | about), spec=JobSpec(**({"entrypoint": "python train.py"} | fields)))


async def review(policies: Sequence[PolicyFile], asked: Admission) -> list[Verdict]:
    """Go through the files as the admission chain does: each sees what those before it set."""
    verdicts: list[Verdict] = []
    for policy in policies:
        for verdict in await policy.review(asked):
            verdicts.append(verdict)
            if isinstance(verdict, Amend):
                asked = asked.model_copy(update={"spec": amend(asked.spec, verdict.changes)})
    return verdicts


AT_MOST_8_GPUS = """
    policy: gpu-rules
    rules:
    - name: at-most-8-gpus
      when: job.demand.gpus > 8
      deny: true
      message: A job may ask for at most 8 GPUs; this one asks for {job.demand.gpus}.
"""
IMAGES = """
    policy: supply-chain
    rules:
    - name: our-registry
      when: '!job.images.all(image, image.startsWith("registry.example.com/"))'
      deny: true
      message: "Images only from registry.example.com/, and this job names {job.images}."
"""
ONE_IMAGE = """
    policy: supply-chain
    rules:
    - name: our-registry
      when: job.image != "" && !job.image.startsWith("registry.example.com/")
      deny: true
      message: Images only from registry.example.com/, not {job.image}.
"""
COST_CENTER = """
    policy: labels
    rules:
    - name: cost-center
      when: '!("cost-center" in job.labels) || !job.labels["cost-center"].matches("^[0-9]{4}$")'
      deny: true
      message: Label each job with its cost-center (four digits), say `raysvc.label.cost-center` in the metadata.
"""
NIGHTLY = """
    policy: queues
    rules:
    - name: nightly-is-low
      when: job.queue == "nightly" && job.priority > 0
      deny: true
      message: The nightly queue takes priorities up to 0, not {job.priority}.
"""
TIMEOUT = """
    policy: time
    rules:
    - name: no-endless-jobs
      when: '!has(job.timeout_s) || job.timeout_s > 24 * 3600'
      warn: true
      message: Jobs over a day are hard to place; set timeout_s.
"""
VIEWERS = """
    policy: people
    rules:
    - name: bots
      when: owner.startsWith("bot-") && role != "admin" && operation == "submit"
      deny: true
      message: "{owner} of {project} may not submit {job.id}."
"""


def gpus(*, driver: float = 0, workers: int = 0) -> dict[str, Any]:
    group = {"scale": {"want": workers, "max": workers}, "resources": {"gpus": 1}}
    return {"resources": {"gpus": driver}, "shape": {"workers": [group]}}


CASES: list[tuple[str, str, dict[str, Any], str | None]] = [
    ("eight GPUs are fine", AT_MOST_8_GPUS, gpus(driver=8), None),
    ("a ninth is not", AT_MOST_8_GPUS, gpus(driver=9), "this one asks for 9."),
    ("a half more is not either", AT_MOST_8_GPUS, gpus(driver=8.5), "asks for 8.5."),
    ("workers count with the driver", AT_MOST_8_GPUS, gpus(driver=1, workers=8), "asks for 9."),
    ("no image at all is fine", IMAGES, {}, None),
    ("an image of ours", IMAGES, {"code": {"kind": "image", "image": "registry.example.com/a:1"}}, None),
    ("an image of others", IMAGES, {"code": {"kind": "image", "image": "docker.io/evil"}}, "docker.io/evil"),
    ("hidden in image_uri", IMAGES, {"runtime_env": {"image_uri": "docker.io/evil"}}, "docker.io/evil"),
    ("hidden in container", IMAGES, {"runtime_env": {"container": {"image": "docker.io/evil"}}}, "docker.io/evil"),
    ("a container that is text", IMAGES, {"runtime_env": {"container": "docker.io/evil"}}, "docker.io/evil"),
    ("a list for a text", IMAGES, {"runtime_env": {"image_uri": ["registry.example.com/a"]}}, "Images only"),
    (
        "a good one in front of a bad one",
        IMAGES,
        {
            "code": {"kind": "image", "image": "registry.example.com/a:1"},
            "runtime_env": {"image_uri": "docker.io/evil"},
        },
        "docker.io/evil",
    ),
    ("a registry that looks alike", IMAGES, {"runtime_env": {"image_uri": "registry.example.com.evil/x"}}, "evil"),
    ("one image of ours", ONE_IMAGE, {"runtime_env": {"image_uri": "registry.example.com/x"}}, None),
    ("one image of others", ONE_IMAGE, {"runtime_env": {"image_uri": "ubuntu"}}, "not ubuntu."),
    ("the label is there", COST_CENTER, {"labels": {"cost-center": "1234"}}, None),
    ("the label is missing", COST_CENTER, {}, "raysvc.label.cost-center"),
    ("the label is another's", COST_CENTER, {"labels": {"cost_center": "1234"}}, "Label each job"),
    ("the label has the wrong form", COST_CENTER, {"labels": {"cost-center": "12345"}}, "four digits"),
    ("the label has it on one line only", COST_CENTER, {"labels": {"cost-center": "1234\nx"}}, "four digits"),
    ("digits of another script", COST_CENTER, {"labels": {"cost-center": "١٢٣٤"}}, "four digits"),
    ("nightly at low priority", NIGHTLY, {"queue": "nightly", "priority": -10}, None),
    ("nightly at high priority", NIGHTLY, {"queue": "nightly", "priority": 5}, "not 5."),
    ("high priority elsewhere", NIGHTLY, {"priority": 5}, None),
    ("bots may not", VIEWERS, {"owner": "bot-7"}, "bot-7 of vision may not submit raysubmit_1."),
    ("an admin's bot may", VIEWERS, {"owner": "bot-7", "role": Role.ADMIN}, None),
]


@pytest.mark.parametrize(("policy", "fields", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_a_rule_refuses_what_it_means_and_nothing_else(
    policies: Write, policy: str, fields: dict[str, Any], says: str | None
) -> None:
    verdicts = await review(policies(policy), admission(**fields))
    if says is None:
        assert verdicts == []
    else:
        [verdict] = verdicts
        assert isinstance(verdict, Deny)
        assert says in verdict.message


async def test_a_refusal_names_its_rule_and_its_policy(policies: Write) -> None:
    [policy] = policies(AT_MOST_8_GPUS)
    assert policy.name == "gpu-rules"
    assert await policy.review(admission(**gpus(driver=16))) == [
        Deny(rule="at-most-8-gpus", message="A job may ask for at most 8 GPUs; this one asks for 16.")
    ]


async def test_all_refusals_are_said_at_once(policies: Write) -> None:
    verdicts = await review(policies(AT_MOST_8_GPUS, COST_CENTER), admission(**gpus(driver=16)))
    assert [verdict.rule for verdict in verdicts if isinstance(verdict, Deny)] == ["at-most-8-gpus", "cost-center"]


@pytest.mark.parametrize(("timeout_s", "warned"), [(None, True), (3600, False), (100_000, True)])
async def test_a_warning_lets_the_job_pass_and_absent_fields_can_be_asked_for(
    policies: Write, timeout_s: float | None, warned: bool
) -> None:
    verdicts = await review(policies(TIMEOUT), admission(timeout_s=timeout_s))
    expected = Warn(rule="no-endless-jobs", message="Jobs over a day are hard to place; set timeout_s.")
    assert verdicts == ([expected] if warned else [])


async def test_a_job_of_two_images_is_refused_where_a_rule_asks_for_the_one(policies: Write) -> None:
    both = {"code": {"kind": "image", "image": "registry.example.com/a"}, "runtime_env": {"image_uri": "evil"}}
    with pytest.raises(Invalid, match="names more than one container image"):
        await review(policies(ONE_IMAGE), admission(**both))
    assert await review(policies(AT_MOST_8_GPUS), admission(**both)) == []


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


async def test_a_demand_beyond_counting_is_invalid_not_a_crash(policies: Write) -> None:
    group = {"scale": {"want": 10**9, "max": 10**9}, "resources": {"gpus": 100_000}}
    with pytest.raises(Invalid, match="more than can be counted"):
        await review(policies(AT_MOST_8_GPUS), admission(shape={"workers": [group]}))


async def test_many_submissions_at_once_do_not_mix(policies: Write) -> None:
    files = policies(SETS, AT_MOST_8_GPUS, COST_CENTER)

    async def one(number: int) -> None:
        await asyncio.sleep(0)
        asked = admission(
            project="research" if number % 2 else "other", **gpus(driver=number), labels={"n": str(number)}
        )
        said = {verdict.rule for verdict in await review(files, asked) if isinstance(verdict, Deny | Amend)}
        assert said == {"cost-center"} | ({"research"} if number % 2 else set()) | (
            {"at-most-8-gpus"} if number > 8 else set()
        )

    await asyncio.gather(*(one(number) for number in range(200)))
