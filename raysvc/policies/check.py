"""What policy files would say of a submission: the same steps as in the server, shown one by one. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field

from raysvc.domain.admission import Admission, Amend, Deny, Warn
from raysvc.domain.job import JobSpec
from raysvc.domain.model import Model
from raysvc.policies.file import PolicyFile, Step
from raysvc.policies.folder import Compiled
from raysvc.policies.rule import Rule
from raysvc.policies.view import Views


class RuleReport(Model):
    """What one rule or webhook says. `matched` None: a webhook, which is not asked."""

    policy: str
    rule: str
    effect: Literal["deny", "warn", "set", "webhook"]
    matched: bool | None
    outcome: Literal["allow", "deny", "warn", "amend"] | None = None
    message: str = ""
    changes: dict[str, Any] = Field(default_factory=dict)
    error: str | None = Field(default=None, description="why the rule could not be evaluated")


class Report(Model):
    """What would happen: the strongest outcome, each rule's, and the spec that would be kept."""

    outcome: Literal["allow", "warn", "deny"]
    rules: tuple[RuleReport, ...]
    spec: JobSpec


def check(files: Sequence[Compiled], admission: Admission) -> Report:
    """Return what the files (of `read`) would do with the submission, without asking their webhooks.

    May be repeated. Raises Invalid for a submission that cannot be judged.
    """
    views = Views(expression for file in files for rule in file.rules for expression in rule.expressions())
    view = views.of(admission)
    reports: list[RuleReport] = []
    for file in files:
        policy = PolicyFile(file.document.policy, file.rules, views, enforce=file.document.mode == "enforce")
        steps = {step.rule.name: step for step in policy.steps(view)}
        reports += [_report(policy.name, rule, steps.get(rule.name)) for rule in file.rules]
        view = list(steps.values())[-1].view if steps else view
        reports += [
            RuleReport(policy=policy.name, rule=hook.name, effect="webhook", matched=None, message="not asked here")
            for hook in file.document.webhooks
        ]
    return Report(outcome=_strongest(reports), rules=tuple(reports), spec=view.admission.spec)


def _report(policy: str, rule: Rule, step: Step | None) -> RuleReport:
    if step is None:
        return RuleReport(policy=policy, rule=rule.name, effect=rule.effect.value, matched=False)
    verdict = step.verdict
    return RuleReport(
        policy=policy,
        rule=rule.name,
        effect=rule.effect.value,
        matched=step.error is None,
        outcome="allow" if verdict is None else verdict.kind,
        message=verdict.message if isinstance(verdict, Deny | Warn | Amend) else "",
        changes=verdict.changes if isinstance(verdict, Amend) else {},
        error=step.error,
    )


def _strongest(reports: Iterable[RuleReport]) -> Literal["allow", "warn", "deny"]:
    said = {report.outcome for report in reports}
    return "deny" if "deny" in said else "warn" if "warn" in said else "allow"
