"""One rule: whether it applies to a submission, and what it says then."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from raysvc.domain.admission import Amend, Deny, Verdict, Warn
from raysvc.policies.evaluator import cel
from raysvc.policies.expression import Expression, Template, Unevaluable, shown


class Effect(StrEnum):
    DENY = "deny"
    WARN = "warn"
    SET = "set"


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule. `closed`: where it cannot be evaluated, the submission is refused."""

    name: str
    effect: Effect
    when: Expression
    message: Template
    changes: tuple[tuple[str, Any], ...] = ()
    closed: bool = True

    def judge(self, context: cel.Context) -> Verdict | None:
        """Return what the rule says, None where it does not apply; raises Unevaluable."""
        applies = self.when.value(context)
        if applies is False:
            return None
        if applies is not True:
            raise Unevaluable(f"it gives {shown(applies)!r}, neither true nor false")
        match self.effect:
            case Effect.DENY:
                return Deny(rule=self.name, message=self.message.render(context))
            case Effect.WARN:
                return Warn(rule=self.name, message=self.message.render(context))
            case Effect.SET:
                changes = {
                    path: value.value(context) if isinstance(value, Expression) else value
                    for path, value in self.changes
                }
                return Amend(rule=self.name, message=self.message.render(context), changes=changes)

    def failed(self, why: str) -> Verdict:
        """Return what is said where the rule has no answer."""
        if self.closed:
            return Deny(
                rule=self.name,
                message=f"The rule could not be evaluated, so the job is refused: {why}. Ask whoever keeps the rules.",
            )
        return Warn(rule=self.name, message=f"The rule could not be evaluated, and was passed over: {why}.")

    def expressions(self) -> Iterator[Expression]:
        yield self.when
        yield from (part for part in self.message.parts if isinstance(part, Expression))
        yield from (value for _, value in self.changes if isinstance(value, Expression))
