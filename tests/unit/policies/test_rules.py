"""The rules that platform engineers write, and the jobs that try to get around them."""

from typing import Any

import pytest

from raysvc.domain.admission import Deny, Warn
from raysvc.domain.project import Role
from raysvc.errors import Invalid

from .submission import AT_MOST_8_GPUS, Write, admission, gpus, review

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
