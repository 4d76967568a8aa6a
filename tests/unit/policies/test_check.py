"""`policy check`: the same rules as in the server, told one by one."""

from pathlib import Path
from textwrap import dedent

from raysvc.domain.admission import Admission
from raysvc.domain.job import JobSpec
from raysvc.domain.project import Role
from raysvc.policies import Report, RuleReport, check, read

RULES = """
    policy: gpu-rules
    rules:
    - name: research
      when: project == "research"
      set: {labels.team: '"research"', priority: 5}
      message: Defaults.
    - name: at-most-8-gpus
      when: job.demand.gpus > 8
      deny: true
      message: "{job.demand.gpus} are more than 8."
    - name: team
      when: job.labels.team == "nlp"
      deny: true
      message: Not now.
    - name: urgent
      when: job.priority > 4
      warn: true
      message: Urgent.
    - name: already-low
      when: job.queue == "default"
      set: {queue: '"default"'}
    webhooks:
    - {name: cost, url: https://hooks.example.com, secret_file: not-here.key}
"""


def checked(tmp_path: Path, spec: JobSpec, project: str = "research", *, mode: str = "enforce") -> Report:
    file = tmp_path / "gpu.yaml"
    file.write_text(f"mode: {mode}\n{dedent(RULES)}")
    return check(read([file]), Admission(project=project, owner="ada", role=Role.MEMBER, job_id="j", spec=spec))


def test_each_rule_is_told_with_the_spec_that_would_be_kept(tmp_path: Path) -> None:
    spec = JobSpec(entrypoint="x", resources={"gpus": 2})
    report = checked(tmp_path, spec)

    def told(rule: str, effect: str, *, matched: bool | None = False, **rest: object) -> RuleReport:
        fields = {"policy": "gpu-rules", "rule": rule, "effect": effect, "matched": matched}
        return RuleReport.model_validate(fields | rest)

    assert report.rules == (
        told(
            "research",
            "set",
            matched=True,
            outcome="amend",
            message="Defaults.",
            changes={"labels.team": "research", "priority": 5},
        ),
        told("at-most-8-gpus", "deny"),
        told("team", "deny"),
        told("urgent", "warn", matched=True, outcome="warn", message="Urgent."),
        told("already-low", "set", matched=True, outcome="allow"),
        told("cost", "webhook", matched=None, message="not asked here"),
    )
    assert report.outcome == "warn"
    assert report.spec == spec.model_copy(update={"labels": {"team": "research"}, "priority": 5})


def test_a_refusal_is_the_strongest_outcome_and_an_error_is_told(tmp_path: Path) -> None:
    report = checked(tmp_path, JobSpec(entrypoint="x", resources={"gpus": 9}), project="other")
    assert report.outcome == "deny"
    by_name = {rule.rule: rule for rule in report.rules}
    assert by_name["at-most-8-gpus"].message == "9 are more than 8."
    assert by_name["research"].matched is False
    team = by_name["team"]
    assert (team.matched, team.outcome) == (False, "deny")
    assert team.error == "there is no 'team' (guard with has(…) or `in`)"


def test_in_warn_mode_nothing_is_stronger_than_a_warning(tmp_path: Path) -> None:
    spec = JobSpec(entrypoint="x", resources={"gpus": 9})
    report = checked(tmp_path, spec, mode="warn")
    assert report.outcome == "warn"
    assert report.spec == spec
    by_name = {rule.rule: rule for rule in report.rules}
    assert by_name["at-most-8-gpus"].outcome == "warn"
    assert by_name["research"].message == "(not enforced yet) The job would have labels.team, priority set: Defaults."


def test_a_report_is_plain_json(tmp_path: Path) -> None:
    report = checked(tmp_path, JobSpec(entrypoint="x"))
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_no_files_allow_everything() -> None:
    asked = Admission(project="p", owner="o", role=Role.MEMBER, job_id="j", spec=JobSpec(entrypoint="x"))
    assert check((), asked) == Report(outcome="allow", rules=(), spec=asked.spec)
