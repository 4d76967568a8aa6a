"""What a backend sees of one external object, in our words."""

from enum import StrEnum

from raysvc.domain.model import Instant, Model
from raysvc.domain.reason import ReasonCode


class Seen(StrEnum):
    """ABSENT is a value: the backend answered and has no such object. UNKNOWN: it could not tell; moves nothing.

    WAITING: it is made, and its entrypoint is not on its way before `apply` is called once more.
    """

    ABSENT = "ABSENT"
    WAITING = "WAITING"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    UNKNOWN = "UNKNOWN"


ENDED = frozenset({Seen.SUCCEEDED, Seen.FAILED, Seen.STOPPED})


class Observation(Model):
    """One look. `cause` is set for FAILED (and for PENDING where the backend knows why)."""

    seen: Seen
    message: str = ""
    cause: ReasonCode | None = None
    exit_code: int | None = None
    node: str | None = None
    started_at: Instant | None = None
    finished_at: Instant | None = None
