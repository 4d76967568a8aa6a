"""From a policy document to compiled rules, tried on two plain jobs before the first real one."""

from collections.abc import Iterator
from typing import Any

from raysvc.domain.admission import Admission
from raysvc.domain.job import ImageCode, JobSpec
from raysvc.domain.project import Role
from raysvc.policies.document import OnError, RuleDocument
from raysvc.policies.expression import (
    BadExpression,
    Expression,
    Template,
    Unevaluable,
    compile_expression,
    compile_template,
    shown,
)
from raysvc.policies.rule import Effect, Rule
from raysvc.policies.source import Place, Source
from raysvc.policies.view import View, Views

_PLAIN = JobSpec(entrypoint="python train.py")
_FULL = JobSpec(entrypoint="python train.py", name="train", code=ImageCode(image="ray:2"), timeout_s=60)


def compile_rules(source: Source, documents: tuple[RuleDocument, ...]) -> tuple[Rule, ...]:
    """Return the rules; raises Invalid, naming file, line, rule and field, for an expression that cannot work."""
    return tuple(_rule(source, ("rules", index), document) for index, document in enumerate(documents))


def _rule(source: Source, place: Place, document: RuleDocument) -> Rule:
    changes = document.changes or {}
    when = str(document.when).lower() if isinstance(document.when, bool) else document.when
    text = document.message or f"{document.name} sets {', '.join(changes)}."
    effect = Effect.DENY if document.deny else Effect.WARN if document.warn else Effect.SET
    default = OnError.OPEN if effect is Effect.WARN else OnError.CLOSED
    rule = Rule(
        name=document.name,
        effect=effect,
        when=_expression(source, (*place, "when"), when),
        message=_template(source, (*place, "message"), text),
        changes=tuple((path, _value(source, (*place, "set", path), value)) for path, value in changes.items()),
        closed=(document.on_error or default) is OnError.CLOSED,
    )
    _try(source, place, rule)
    return rule


def _expression(source: Source, place: Place, text: str) -> Expression:
    try:
        return compile_expression(text)
    except BadExpression as error:
        raise source.invalid(place, str(error), error.line - 1) from error


def _template(source: Source, place: Place, text: str) -> Template:
    try:
        return compile_template(text)
    except BadExpression as error:
        raise source.invalid(place, str(error)) from error


def _value(source: Source, place: Place, value: Any) -> Any:
    return _expression(source, place, value) if isinstance(value, str) else value


def _try(source: Source, place: Place, rule: Rule) -> None:
    """Evaluate the rule for plain jobs, and refuse it where it fails for its types: it would fail for every job.

    Anything else, such as a missing key or a division by zero, may be otherwise for a real job.
    """
    views = list(_samples(rule))
    fields = [("when", rule.when), *(("set", value) for _, value in rule.changes if isinstance(value, Expression))]
    for field, expression in fields:
        for view in views:
            try:
                value = expression.value(view.context)
            except Unevaluable as error:
                if isinstance(error.__cause__, TypeError | RuntimeError):
                    raise source.invalid((*place, field), f"fails for any job: {error}") from error
                continue
            if field == "when" and not isinstance(value, bool):
                raise source.invalid((*place, field), f"must be true or false, and gives {shown(value)!r}")


def _samples(rule: Rule) -> Iterator[View]:
    views = Views(rule.expressions())
    for spec in (_PLAIN, _FULL):
        yield views.of(Admission(project="sample", owner="somebody", role=Role.MEMBER, job_id="sample", spec=spec))
