"""What happened to a record, in order. A record is the fold of its events; each event names the one before by hash."""

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic_core import from_json

from raysvc.domain.model import Instant, Uid, Written


class EventKind(StrEnum):
    SUBMITTED = "submitted"
    AMENDED = "amended"
    WARNED = "warned"
    MOVED = "moved"
    REASON = "reason"
    STOP_REQUESTED = "stop_requested"
    FINALISED = "finalised"
    DELETED = "deleted"


class Event(Written):
    """One change of one record. `seq` is the record's version after it; `change` the top-level fields it sets.

    Its text is what is hashed and what is kept.
    """

    schema_version: Literal[1] = 1
    uid: Uid
    seq: int
    project: str
    kind: EventKind
    at: Instant
    actor: str
    message: str
    change: dict[str, Any]
    prev_hash: str

    @classmethod
    def of(cls, change: str, **about: Any) -> Self:
        """Return the event of a change that is there as JSON: the text holds it as it is, at half the cost."""
        event = cls(change=from_json(change), **about)
        end = f',"prev_hash":"{event.prev_hash}"}}'
        rest = event.model_dump_json(exclude={"change"}).removesuffix(end)
        event.__dict__["text"] = f'{rest},"change":{change}{end}'
        return event

    def digest(self) -> str:
        """Return the SHA-256 (hex) of this event's text, which the next event carries as `prev_hash`."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class BrokenChain(ValueError):
    """An event is missing, out of order or altered."""


def fold(events: Iterable[Event]) -> dict[str, Any]:
    """Return the record's fields (JSON form) after these events, which start at its first.

    Raises BrokenChain where `seq` has a gap or a `prev_hash` does not match.
    """
    fields: dict[str, Any] = {}
    expected_seq, expected_hash = 1, ""
    for event in events:
        if event.seq != expected_seq or event.prev_hash != expected_hash:
            message = f"event {event.seq} of {event.uid} does not follow event {expected_seq - 1}"
            raise BrokenChain(message)
        expected_seq, expected_hash = event.seq + 1, event.digest()
        fields |= event.change
    fields |= {"version": expected_seq - 1, "head": expected_hash}
    return fields
