"""Who may object to a submission, and who hears of events."""

from collections.abc import Sequence
from typing import Protocol

from raysvc.domain.admission import Admission, Verdict
from raysvc.domain.event import Event


class Policy(Protocol):
    @property
    def name(self) -> str: ...

    async def review(self, admission: Admission) -> Sequence[Verdict]:
        """Return what it has to say; empty means allow. Must not change anything."""


class Sink(Protocol):
    async def emit(self, event: Event) -> None: ...
