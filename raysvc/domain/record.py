"""What jobs, clusters and services have in common: identity, a spec, a phase with a reason, and a trail of events."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Generic, Self, TypeVar

from raysvc.domain.event import Event, EventKind
from raysvc.domain.model import Instant, JobId, Model, Name, Uid, Written
from raysvc.domain.reason import Reason
from raysvc.errors import IllegalTransition

Spec = TypeVar("Spec", bound=Model)
Phase = TypeVar("Phase", bound=StrEnum)


class Record(Written, Generic[Spec, Phase]):
    """A thing the platform keeps. Changed only through `change` and `to`, each of which yields the event of it."""

    TRANSITIONS: ClassVar[Mapping[Any, frozenset[Any]]] = {}

    id: JobId
    uid: Uid
    project: Name
    spec: Spec
    phase: Phase
    reason: Reason
    owner: str
    created_at: Instant
    updated_at: Instant
    version: int = 0
    head: str = ""

    def born(self, kind: EventKind, change: str, *, actor: str, message: str) -> Event:
        """Return the first event of this new record (version 1), whose JSON is given and which nobody else has yet."""
        event = Event.of(
            change,
            uid=self.uid,
            seq=1,
            project=self.project,
            kind=kind,
            at=self.created_at,
            actor=actor,
            message=message,
            prev_hash="",
        )
        self._seal(event, change)
        return event

    def change(
        self, kind: EventKind, at: datetime, *, actor: str, message: str = "", **fields: Any
    ) -> tuple[Self, Event]:
        """Return this record with `fields` set, and the event that says so. The first change carries every field."""
        after = self.model_copy(update={**fields, "updated_at": at, "version": self.version + 1, "head": ""})
        named = None if self.version == 0 else {*fields, "updated_at"}
        change = after.model_dump_json(include=named, exclude={"version", "head"})
        event = Event.of(
            change,
            uid=self.uid,
            seq=after.version,
            project=self.project,
            kind=kind,
            at=at,
            actor=actor,
            message=message,
            prev_hash=self.head,
        )
        after._seal(event, change)  # noqa: SLF001 it is one of us
        return after, event

    def to(
        self, phase: Phase, why: Reason, at: datetime, *, actor: str = "raysvc", **fields: Any
    ) -> tuple[Self, Event]:
        """Return the record moved to `phase`: the only way to move.

        Raises IllegalTransition where the state machine has no such edge.
        """
        if phase not in self.TRANSITIONS.get(self.phase, frozenset()):
            message = f"{type(self).__name__} {self.uid}: no edge {self.phase} -> {phase}"
            raise IllegalTransition(message)
        text = f"{self.phase} -> {phase}: {why.title}" + (f". {why.message}" if why.message else "")
        return self.change(EventKind.MOVED, at, actor=actor, message=text, phase=phase, reason=why, **fields)

    def _seal(self, event: Event, change: str) -> None:
        """Take the digest of the event that made this record: not by a copy, until it is returned nobody has it."""
        self.__dict__["head"] = head = event.digest()
        if self.version == 1:
            self.__dict__["text"] = f'{change[:-1]},"version":1,"head":"{head}"}}'
