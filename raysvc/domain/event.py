"""What happened to a record, in order. A record is the fold of its events; each event names the one before by hash."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import PlainSerializer
from pydantic_core import from_json, to_json

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
    REVISED = "revised"


class Change(Mapping[str, Any]):
    """Fields as JSON, parsed when somebody looks: of most events, nobody does before they are kept."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = from_json(self._text)
        return fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return repr(self._fields)


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
    change: Annotated[Mapping[str, Any], PlainSerializer(dict, return_type=dict[str, Any])]
    prev_hash: str

    @classmethod
    def of(cls, change: str, **about: Any) -> Self:
        """Return the event of a change that is there as JSON, which its text holds as it is."""
        event = cls(change={}, **about)
        event.__dict__["change"] = Change(change)
        event.__dict__["text"] = (
            f'{{"schema_version":1,"uid":"{event.uid}","seq":{event.seq},"project":"{event.project}",'
            f'"kind":"{event.kind}","at":{_json(event.at)},"actor":{_json(event.actor)},'
            f'"message":{_json(event.message)},"change":{change},"prev_hash":"{event.prev_hash}"}}'
        )
        return event

    def digest(self) -> str:
        """Return the SHA-256 (hex) of this event's text, which the next event carries as `prev_hash`."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def _json(value: datetime | str) -> str:
    return to_json(value).decode()


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
