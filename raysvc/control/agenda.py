"""When to look at which job: at the time that was decided at the last look, at once where it was changed since. Pure.

In memory only: a process that starts, or leads anew, looks once at all that is due.
"""

import heapq
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from raysvc.domain.job import JobPhase
from raysvc.domain.query import DueRow

# Looks in one pass: 10 ms of the event loop, so that thousands of jobs keep neither new ones nor requests waiting.
DUE_LIMIT = 100
# Rest for each row that was read: so reading takes the loop a tenth of the time at most, however many there are.
ROW_S = 50e-6
# Longer than any clock is set back by.
FAR = timedelta(days=366)
_QUEUED = JobPhase.QUEUED


class Agenda:
    """The jobs that are due in the store, as far as they were read, and when each is to be looked at."""

    def __init__(self) -> None:
        self._times: dict[str, datetime] = {}
        # The versions that those times are for: of another one, somebody else's stop say, they say nothing.
        self._versions: dict[str, int] = {}
        self._hinted: set[str] = set()
        self._read_at = datetime.min.replace(tzinfo=UTC)
        self._latest: datetime | None = None

    def rests(self, now: datetime) -> bool:
        """Return whether what was read will do. Of thousands: a stop is then seen a tenth of a second later."""
        rest = timedelta(seconds=ROW_S * len(self._versions))
        return len(self._versions) > DUE_LIMIT and timedelta(0) <= now - self._read_at < rest

    def until(self, now: datetime) -> datetime:
        """Return what is to be read is due by. Where the clock was set back, or may have been before this process: all.

        A job that was due before is due now, and must not wait until the clock has caught up.
        """
        if self._latest is None or now < self._read_at:
            return now + FAR
        return max(now, self._latest)

    def read(self, rows: Sequence[DueRow], now: datetime) -> None:
        """Take what was read now, instead of what was read before."""
        if now < self._read_at:
            self._times.clear()  # by a clock that has been set back since
        self._read_at = now
        self._latest = max([now, self._latest or now, *(row.due_at for row in rows if row.phase is not _QUEUED)])
        self._times = {row.uid: self._time_of(row, now) for row in rows}
        self._versions = {row.uid: row.version for row in rows}

    def put(self, uid: str, at: datetime | None) -> None:
        """Look at a job then; None: not before it is changed or read as due."""
        if at is None:
            self._times.pop(uid, None)
        else:
            self._times[uid] = at

    def saved(self, uid: str, version: int, at: datetime | None) -> None:
        """Look at a job then, that was changed by whoever keeps this agenda."""
        self._versions[uid] = version
        self.put(uid, at)

    def hint(self, uid: str) -> None:
        """Look at a job at once if it is due at all; at one that is busy, as soon as it is not."""
        self._hinted.add(uid)

    def due(self, now: datetime, busy: Collection[str]) -> list[str]:
        """Return whom to look at now. Of too many, those that have waited longest: so each has its turn."""
        heard = self._hinted.difference(busy)
        self._hinted -= heard
        for uid in heard & self._times.keys():
            self._times[uid] = now
        due = [uid for uid, at in self._times.items() if at <= now and uid not in busy]
        return heapq.nsmallest(DUE_LIMIT, due, key=self._times.__getitem__)

    def ahead(self, busy: Collection[str]) -> datetime | None:
        """Return when the next look is, None where there is none."""
        return min((at for uid, at in self._times.items() if uid not in busy), default=None)

    def _time_of(self, row: DueRow, now: datetime) -> datetime:
        return self._times.get(row.uid, now) if self._versions.get(row.uid) == row.version else now
