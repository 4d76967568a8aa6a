"""One policy file at work: its rules, then its webhooks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raysvc.domain.admission import Admission, Amend, Deny, Verdict, Warn
from raysvc.errors import Invalid
from raysvc.policies.expression import Unevaluable
from raysvc.policies.rule import Effect, Rule
from raysvc.policies.view import Key, View, Views
from raysvc.policies.webhook import Webhook

# Submissions that a file remembers: those of some busy hours, and at most some megabytes.
_REMEMBERED = 2048


class Step(NamedTuple):
    """What a rule that spoke up said, and the submission as it stands after it. `error`: why it had no answer."""

    rule: Rule
    verdict: Verdict | None
    view: View
    error: str | None = None


@dataclass(frozen=True)
class PolicyFile:
    """A Policy. `views` is shared by the files that are loaded together; `enforce` False: only warns."""

    name: str
    rules: tuple[Rule, ...]
    views: Views
    webhooks: tuple[Webhook, ...] = ()
    enforce: bool = True
    # What the rules had nothing to say of. They read nothing but the key, so they have nothing to say of it again.
    _silent: set[Key] = field(default_factory=set, compare=False, repr=False)

    async def review(self, admission: Admission) -> Sequence[Verdict]:
        """Return what the rules and webhooks say, in order; a Deny ends it before any webhook is asked.

        Amendments fit the spec as those before them left it. Raises Invalid for a submission that cannot be judged.
        """
        view = self.views.of(admission)
        verdicts = []
        for step in self.steps(view):
            view = step.view
            if step.verdict is not None:
                verdicts.append(step.verdict)
        before = view
        for webhook in self.webhooks:
            if any(isinstance(verdict, Deny) for verdict in verdicts):
                return verdicts
            verdict, view = await self._ask(webhook, view)
            if verdict is not None:
                verdicts.append(verdict)
        if view is not before:
            # The webhook may have set what a rule forbids.
            again = (step.verdict for step in self.steps(view, only_checks=True))
            verdicts += [verdict for verdict in again if verdict is not None and verdict not in verdicts]
        return verdicts

    def steps(self, view: View, *, only_checks: bool = False) -> Iterator[Step]:
        """Yield what each rule that applies says of the submission as the rules before it left it. Pure.

        Raises Invalid for a submission that cannot be shown, such as one that names two images.
        """
        key, silent = view.key, True
        if key in self._silent:
            return
        _ = view.context
        for rule in self.rules:
            if only_checks and rule.effect is Effect.SET:
                silent = False
                continue
            error = None
            try:
                verdict = rule.judge(view.context)
                if verdict is None:
                    continue
                said, view = self._take(verdict, view)
            except (Unevaluable, Invalid) as problem:
                error = str(problem)
                said, view = self._take(rule.failed(error.rstrip(".")), view)
            silent = False
            yield Step(rule, said, view, error)
        if silent and key is not None:
            self._remember(key)

    def _remember(self, key: Key) -> None:
        if len(self._silent) >= _REMEMBERED:
            self._silent.clear()
        self._silent.add(key)

    async def _ask(self, webhook: Webhook, view: View) -> tuple[Verdict | None, View]:
        verdict = await webhook.review(view.admission)
        try:
            return self._take(verdict, view)
        except Invalid as problem:
            return self._take(webhook.failed(str(problem).rstrip(".")), view)

    def _take(self, verdict: Verdict | None, view: View) -> tuple[Verdict | None, View]:
        """Return the verdict as the mode has it, None where it changes nothing, and the submission after it."""
        if not self.enforce and isinstance(verdict, Deny | Amend):
            would = "be refused" if isinstance(verdict, Deny) else f"have {', '.join(verdict.changes)} set"
            return Warn(rule=verdict.rule, message=f"(not enforced yet) The job would {would}: {verdict.message}"), view
        if isinstance(verdict, Amend):
            amended = self.views.amended(view, verdict)
            return (None if amended is view else verdict), amended
        return verdict, view
