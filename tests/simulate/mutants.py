"""Mistakes that somebody could make in the control plane. The simulation must find each of them."""

from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Any
from unittest.mock import patch

from raysvc.control import decide as decisions
from raysvc.control import housekeeping, reconciler
from raysvc.control.agenda import Agenda
from raysvc.control.decide import Decision, Effect, decide
from raysvc.control.housekeeping import Housekeeper, claimed
from raysvc.control.lease import Leadership
from raysvc.control.logbook import Archive
from raysvc.control.reconciler import Reconciler
from raysvc.domain.job import Job, JobPhase, JobRef
from raysvc.domain.observation import Observation, Seen
from raysvc.errors import RaysvcError
from raysvc.ports import Addition, Lease
from raysvc.testing import job_store
from raysvc.testing.job_store import MemoryJobs
from tests.simulate.world import START

P = JobPhase


async def _nothing(*_: object, **__: object) -> None: ...


async def _none_swept(_: object) -> int:
    return 0


async def _saved_first(self: Reconciler, job: Job, decision: Decision) -> Decision:
    if decision.effect is Effect.APPLY:
        job, event = decisions.changed(job, decision, self._world.clock.now(), "raysvc")
        await self._save(job, [event], decision.look_at)
    return await _PERFORM(self, job, decision)


async def _tried_once(self: Archive, ref: JobRef, *_: object) -> None:
    with suppress(RaysvcError):
        await self._copy(ref, follow=False)


_ADD = MemoryJobs._add  # noqa: SLF001
_PERFORM = Reconciler._perform  # noqa: SLF001
_END_OR_RETRY = decisions._end_or_retry  # noqa: SLF001


@asynccontextmanager
async def _unfenced(_: Leadership) -> Any:
    yield


def _unknown_is_absent(job: Job, seen: Observation | None, now: datetime) -> Decision:
    if seen is not None and seen.seen is Seen.UNKNOWN:
        seen = Observation(seen=Seen.ABSENT)
    return decide(job, seen, now)


def _deaf(*phases: JobPhase) -> Callable[..., Decision]:
    def ignoring(job: Job, seen: Observation | None, now: datetime) -> Decision:
        return decide(job.model_copy(update={"stop_requested": False}) if job.phase in phases else job, seen, now)

    return ignoring


def _again_and_again(job: Job, seen: Observation, now: datetime) -> Decision:
    return _END_OR_RETRY(job.model_copy(update={"infrastructure_retries": 0, "user_retries": 0}), seen, now)


def _not_while_starting(job: Job | None, *rest: Any) -> bool:
    return claimed(job, *rest) and job is not None and job.phase is not P.STARTING


async def _overwriting(self: MemoryJobs, job: Job, events: Any) -> None:
    self._events[job.uid] += events
    self._put(job)


def _forgetful(self: MemoryJobs, new: Addition) -> tuple[Job, bool]:
    return _ADD(self, new._replace(key=None))


async def _no_key(*_: object) -> None:
    return None


async def _none_placed(_: MemoryJobs) -> list[Any]:
    return []


# What is said of each: (where, the name there, what stands there instead).
MUTANTS: dict[str, tuple[tuple[Any, str, Any], ...]] = {
    "the record is saved before the effect": ((Reconciler, "_perform", _saved_first),),
    "whoever once led goes on": (
        (Leadership, "held", True),
        (Leadership, "lease", Lease(name="kept for ever", holder="me", token=1, deadline=START)),
        (Leadership, "check", lambda _: None),
        (Leadership, "effect", _unfenced),
        (job_store, "_holds", lambda *_: True),
    ),
    "UNKNOWN is taken for ABSENT": ((reconciler, "decide", _unknown_is_absent),),
    "one old answer is believed": ((decisions, "_gone", lambda *_: True),),
    "an attempt that was sent is sent again": ((decisions, "_never_sent", lambda job: job.phase is P.STARTING),),
    "a stop is not heard while the job starts": ((reconciler, "decide", _deaf(P.STARTING)),),
    "a stop is not heard while the job runs": ((reconciler, "decide", _deaf(P.RUNNING)),),
    "a stop is not heard in the queue": ((reconciler, "decide", _deaf(P.QUEUED)),),
    "retries are not counted": ((decisions, "_end_or_retry", _again_and_again),),
    "the sweep forgets jobs that start": ((housekeeping, "claimed", _not_while_starting),),
    "nothing is swept": ((Housekeeper, "sweep", _none_swept),),
    "the log is not drained": ((Archive, "drain", _nothing), (Archive, "finish", _nothing)),
    "the end does not wait for its log": ((Archive, "drain", _tried_once), (Archive, "finish", _nothing)),
    "a deleted job keeps its log": ((Archive, "delete", _nothing),),
    "saves do not compare": ((MemoryJobs, "save", _overwriting),),
    "idempotency keys are forgotten": ((MemoryJobs, "_add", _forgetful), (MemoryJobs, "by_key", _no_key)),
    "what runs is not counted": ((MemoryJobs, "placed", _none_placed),),
    "a clock that is set back is not noticed": ((Agenda, "until", lambda _, now: now),),
}


@contextmanager
def planted(mutant: str) -> Iterator[None]:
    """Make that mistake, for a while."""
    patches = [patch.object(where, name, instead) for where, name, instead in MUTANTS[mutant]]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()
