"""What an attempt occupies beyond its end is let go of: after its log is read, and before anybody hears of the end."""

from collections.abc import AsyncIterator

import pytest

from raysvc.domain.job import JobPhase, JobRef
from raysvc.errors import Unavailable
from raysvc.testing.backend import FakeJobs

from .world import Place


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = await Place().open()
    yield place
    await place.archive.close()


class Releasing(FakeJobs):
    """Notes in which phase its job was kept, and how much of its log, at each release."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.backend)
        self.place = place
        self.refusals = 0
        self.released: list[tuple[JobRef, JobPhase, str]] = []

    async def release(self, ref: JobRef) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("try again")
        job = await self.place.store.jobs.get_by_uid(ref.uid)
        self.released.append((ref, job.phase, await self.place.log(job)))


async def test_each_attempt_is_released_with_its_log_read_and_its_end_not_yet_told(place: Place) -> None:
    place.backend.jobs = releasing = Releasing(place)
    place.reborn()
    job = await place.submit("echo hello; exit 3", retry={"user": 1, "backoff_s": 0})
    releasing.refusals = 1
    await place.pass_by(60)
    kept = await place.now(job)
    assert kept.phase is JobPhase.FAILED
    assert [ref for ref, _, _ in releasing.released] == [attempt.ref for attempt in kept.attempts]
    assert len(kept.attempts) == 2
    assert all(phase not in {JobPhase.QUEUED, JobPhase.FAILED} for _, phase, _ in releasing.released)
    assert all("hello" in log for _, _, log in releasing.released)
