"""What happened to a record, in order. A record is the fold of its events; each event names the one before by hash."""

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, Self

from raysvc.domain.model import Instant, Model, Uid


class EventKind(StrEnum):
    SUBMITTED = "submitted"
    AMENDED = "amended"
    WARNED = "warned"
    MOVED = "moved"
    REASON = "reason"
    STOP_REQUESTED = "stop_requested"
    FINALISED = "finalised"
    DELETED = "deleted"


class Event(Model):
    """One change of one record. `seq` is the record's version after it; `change` the top-level fields it sets."""

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

    @cached_property
    def text(self) -> str:
        """Its JSON, fields in order: what is hashed and what is kept, written once."""
        return self.model_dump_json()

    def digest(self) -> str:
        """Return the SHA-256 (hex) of this event's text, which the next event carries as `prev_hash`."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def __copy__(self) -> Self:
        # A copy is made to be changed: it writes its own text.
        copied = super().__copy__()
        copied.__dict__.pop("text", None)
        return copied


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
