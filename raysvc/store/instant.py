"""Times as the databases keep them: integer microseconds since 1970, UTC. Exact, sortable, the same in each."""

from datetime import UTC, datetime, timedelta
from typing import overload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@overload
def micros(at: datetime) -> int: ...
@overload
def micros(at: None) -> None: ...
def micros(at: datetime | None) -> int | None:
    """Return an aware time as microseconds since 1970; None stays None."""
    return None if at is None else (at - _EPOCH) // _MICROSECOND


@overload
def instant(microseconds: int) -> datetime: ...
@overload
def instant(microseconds: None) -> None: ...
def instant(microseconds: int | None) -> datetime | None:
    """Return the time, in UTC, of that many microseconds since 1970; None stays None."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)
