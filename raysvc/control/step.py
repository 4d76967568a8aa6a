"""One step of a record that a loop keeps in step with its backend: what `decide` says, and what becomes of the record.

Of services and clusters; jobs, of which there are thousands, have a leaner form of their own.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from raysvc.domain.event import Event, EventKind
from raysvc.domain.reason import Reason
from raysvc.domain.record import Record

R = TypeVar("R", bound=Record[Any, Any])


class Effect(StrEnum):
    NONE = "none"
    APPLY = "apply"
    DELETE = "delete"


@dataclass(frozen=True)
class Decision:
    """One step. The effect comes before the save, so that a crash between them repeats an idempotent effect."""

    effect: Effect = Effect.NONE
    phase: StrEnum | None = None
    reason: Reason | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        return self.phase is not None or self.reason is not None or bool(self.fields)


def changed(record: R, decision: Decision, now: datetime, actor: str) -> tuple[R, Event]:
    """Return the record after a decision that changes it, and the event of that."""
    if decision.phase is not None and decision.reason is not None:
        return record.to(decision.phase, decision.reason, now, actor=actor, **decision.fields)
    if decision.reason is not None:
        text = f"{decision.reason.title}. {decision.reason.message}".strip()
        return record.change(
            EventKind.REASON, now, actor=actor, message=text, reason=decision.reason, **decision.fields
        )
    text = "noted: " + ", ".join(sorted(decision.fields))
    return record.change(EventKind.REASON, now, actor=actor, message=text, **decision.fields)
