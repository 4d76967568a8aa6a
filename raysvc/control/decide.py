"""What to do about one job, given what is seen of its attempt. Pure: (job, observation, now) -> decision."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import Field

from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import PLACED, Attempt, Job, JobPhase
from raysvc.domain.model import Instant, Model
from raysvc.domain.observation import ENDED, Observation, Seen
from raysvc.domain.placement import Placement
from raysvc.domain.reason import Fault, Reason, ReasonCode, reason

# An attempt that Ray has not begun to run after this long is given up: above Ray's own 900 s
# (RAY_JOB_START_TIMEOUT_SECONDS), so that Ray's more exact reason comes first.
START_TIMEOUT = timedelta(seconds=960)
# How long a cluster may be silent before the job's reason says so.
SILENCE = timedelta(seconds=3)
# An attempt that was seen once is gone only when it is still absent this long after that: an answer may be old, or come
# from a head that is not the one it was asked of.
GONE_AFTER = timedelta(seconds=1)
# Looks at a placed job: often while it is young, since short jobs are the ones whose wait is felt.
SHORTEST_LOOK = timedelta(milliseconds=50)
LONGEST_LOOK = timedelta(seconds=1)
_C = ReasonCode
Move = tuple[JobPhase, Reason, dict[str, Any]]
# Why an attempt is removed before it began: it ends for that, or is tried again, unless it was stopped.
_NOT_BEGUN = frozenset(
    {_C.START_TIMED_OUT, _C.BACKEND_REFUSED, _C.SECRET_MISSING, _C.PACKAGE_MISSING, _C.PACKAGE_DAMAGED}
)


class Effect(StrEnum):
    NONE = "none"
    APPLY = "apply"
    STOP = "stop"
    FINALISE = "finalise"
    PURGE = "purge"


class Decision(Model):
    """One step. The effect comes before the save, so that a crash between them repeats an idempotent effect.

    `phase` None stays; `reason` None keeps it; `fields` are further changes. Nothing of the three: nothing to save.
    """

    effect: Effect = Effect.NONE
    phase: JobPhase | None = None
    reason: Reason | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    look_at: Instant | None = None

    @property
    def changes(self) -> bool:
        return self.phase is not None or self.reason is not None or bool(self.fields)


def decide(job: Job, seen: Observation | None, now: datetime) -> Decision:
    """Return the next step for a job that is due. `seen` is the look at its current attempt, None if it has none."""
    if job.deleted:
        return Decision(effect=Effect.PURGE, fields={"finalised": True, "due_at": None})
    if not job.live:
        return Decision(effect=Effect.FINALISE, fields={"finalised": True, "due_at": None})
    if job.phase is JobPhase.QUEUED:
        return _queued(job, now)
    if seen is None:
        message = f"{job.phase} job {job.uid} must be observed before it is decided"
        raise ValueError(message)
    unsure = _missing(job, seen) and not _gone(job, now)
    if unsure or seen.seen is Seen.UNKNOWN:
        return _unsure(job, now) if unsure else _unknown(job, seen, now)
    decision = _stopping(job, seen, now) if job.phase is JobPhase.STOPPING else _active(job, seen, now)
    if job.unknown_since is None:
        return decision
    return decision.model_copy(update={"fields": {"unknown_since": None, **decision.fields}})


def _active(job: Job, seen: Observation, now: datetime) -> Decision:
    """STARTING or RUNNING, and the cluster answered."""
    if seen.seen in ENDED or _missing(job, seen):
        return _ended(job, seen, now)
    wish = _wish_to_end(job, now)
    if wish is not None:
        return Decision(phase=JobPhase.STOPPING, reason=wish, fields={"due_at": now}, look_at=now)
    if job.phase is JobPhase.STARTING:
        return _starting(job, seen, now)
    return Decision(reason=_news(job, ReasonCode.RUNNING), look_at=now + look_interval(job, now))


def _starting(job: Job, seen: Observation, now: datetime) -> Decision:
    """It is to start: sent where that is left to do, and given up where it takes too long."""
    if seen.seen is Seen.RUNNING:
        running, began = reason(ReasonCode.RUNNING), _began(job, seen, now)
        return Decision(phase=JobPhase.RUNNING, reason=running, fields=began, look_at=now + SHORTEST_LOOK)
    # What was never sent is sent, however late; but not to a shared cluster: another may have its name by then.
    if now - (last := job.attempts[-1]).created_at > START_TIMEOUT and (last.on or seen.seen is not Seen.ABSENT):
        late = reason(ReasonCode.START_TIMED_OUT, f"not running {START_TIMEOUT.seconds} s after it was handed to Ray")
        return Decision(phase=JobPhase.STOPPING, reason=late, fields={"due_at": now}, look_at=now)
    if seen.seen in {Seen.ABSENT, Seen.WAITING}:
        # What was seen is what was before it was sent, and no longer so once that has worked.
        at_ray = _news(job, ReasonCode.STARTING_ON_RAY)
        return Decision(effect=Effect.APPLY, reason=at_ray, look_at=now + SHORTEST_LOOK)
    usual = _news(job, seen.cause or ReasonCode.STARTING_ON_RAY, seen.message)
    return Decision(reason=usual, look_at=now + look_interval(job, now))


def changed(job: Job, decision: Decision, now: datetime, actor: str) -> tuple[Job, Event]:
    """Return the job after a decision that changes it, and the event of that."""
    fields = decision.fields
    if decision.phase is not None and decision.reason is not None:
        return job.to(decision.phase, decision.reason, now, actor=actor, **fields)
    if decision.reason is not None:
        text = f"{decision.reason.title}. {decision.reason.message}".strip()
        return job.change(EventKind.REASON, now, actor=actor, message=text, reason=decision.reason, **fields)
    kind = EventKind.FINALISED if "finalised" in fields else EventKind.REASON
    text = "noted: " + ", ".join(sorted(fields))
    if kind is EventKind.FINALISED:
        text = "removed from its cluster, with its logs and files" if job.deleted else "logs archived"
    return job.change(kind, now, actor=actor, message=text, **fields)


def refused(job: Job, why: Reason, now: datetime, *, made: bool = False) -> Decision:
    """Return the step after an apply that the backend refused for good: where one before has `made` it, its removal."""
    if made:
        return Decision(phase=JobPhase.STOPPING, reason=why, fields={"due_at": now}, look_at=now)
    return _end_or_retry(job, Observation(seen=Seen.FAILED, cause=why.code, message=why.message), now)


def look_interval(job: Job, now: datetime) -> timedelta:
    """Return how long to wait before the next look: a tenth of the phase's age, within bounds."""
    return min(LONGEST_LOOK, max(SHORTEST_LOOK, (now - job.updated_at) / 10))


def admit(job: Job, cluster: str, now: datetime, placement: Placement | None = None, on: str | None = None) -> Move:
    """Return the move of a QUEUED job that the scheduler admits: a new attempt, no effect yet."""
    where = {"cluster": cluster, "placement": placement, "on": on}
    attempt = Attempt(job=job.uid, number=job.attempt + 1, created_at=now, **where)
    attempts = (*job.attempts, attempt)
    fields = {"attempt": attempt.number, "attempts": attempts, "cluster": cluster, "not_before": None}
    fields |= {"attempt_started_at": None, "due_at": now}
    said = f"{cluster}: {placement.summary}" if placement else cluster
    return JobPhase.STARTING, reason(ReasonCode.SUBMITTING, f"attempt {attempt.number} on {said}"), fields


def _queued(job: Job, now: datetime) -> Decision:
    if job.stop_requested:
        return _finish(job, JobPhase.CANCELLED, reason(ReasonCode.STOPPED, "stopped while it waited"), now)
    if job.deadline is not None and now >= job.deadline:
        return _finish(job, JobPhase.FAILED, _timed_out(job), now)
    return Decision(fields={"due_at": job.deadline} if job.due_at != job.deadline else {}, look_at=job.deadline)


def _unknown(job: Job, seen: Observation, now: datetime) -> Decision:
    """UNKNOWN moves nothing: it is remembered, and after a while it is said."""
    look_at = now + max(SHORTEST_LOOK * 4, look_interval(job, now))
    if job.unknown_since is None:
        return Decision(fields={"unknown_since": now}, look_at=look_at)
    if now - job.unknown_since < SILENCE:
        return Decision(look_at=look_at)
    if job.phase is JobPhase.STOPPING:
        return Decision(look_at=look_at)  # its reason says how it is to end
    # One that was never sent keeps its code, which is how that is known.
    code = ReasonCode.SUBMITTING if _never_sent(job) else ReasonCode.CLUSTER_UNREACHABLE
    return Decision(reason=_news(job, code, seen.message), look_at=look_at)


def _unsure(job: Job, now: datetime) -> Decision:
    """Missing for the first time: it is looked for again, and stopped where that is the wish, in case it is there."""
    effect = Effect.STOP if job.phase is JobPhase.STOPPING else Effect.NONE
    since = {} if job.unknown_since is not None else {"unknown_since": now}
    return Decision(effect=effect, fields=since, look_at=now + SHORTEST_LOOK * 4)


def _never_sent(job: Job) -> bool:
    """Return whether no apply of the current attempt is known to have worked: only then may it be applied."""
    return job.phase is JobPhase.STARTING and job.reason.code is ReasonCode.SUBMITTING


def _missing(job: Job, seen: Observation) -> bool:
    """Return whether an attempt that was there is not: absent, or one that ran and is now to be begun anew."""
    if seen.seen is Seen.WAITING:
        return job.phase is JobPhase.RUNNING
    return seen.seen is Seen.ABSENT and not _never_sent(job)


def _gone(job: Job, now: datetime) -> bool:
    """Return whether an attempt that is absent now has not been seen for long enough."""
    return job.unknown_since is not None and abs(now - job.unknown_since) >= GONE_AFTER


def _stopping(job: Job, seen: Observation, now: datetime) -> Decision:
    why = job.reason
    if seen.seen is Seen.SUCCEEDED or (seen.seen is Seen.FAILED and why.code is ReasonCode.STOP_REQUESTED):
        return _end_or_retry(job, seen, now)
    if seen.seen in ENDED:
        return _stopped(job, seen, now)
    if seen.seen is Seen.ABSENT:
        # One that was on its way may have come since it was looked for.
        return _stopped(job, seen, now).model_copy(update={"effect": Effect.STOP})
    # The stop is repeated until it is seen to have worked; Ray takes a second one as no more than the first.
    return Decision(effect=Effect.STOP, look_at=now + SHORTEST_LOOK * 4)


def _stopped(job: Job, seen: Observation, now: datetime) -> Decision:
    """It ended because it was told to, for whatever reason it was."""
    why = job.reason
    if why.code is ReasonCode.TIMED_OUT:
        return _finish(job, JobPhase.FAILED, why, now, seen)
    if why.code in _NOT_BEGUN and not job.stop_requested:
        end = {"seen": Seen.FAILED, "cause": why.code, "message": why.message}
        return _end_or_retry(job, seen.model_copy(update=end), now)
    return _finish(job, JobPhase.CANCELLED, reason(ReasonCode.STOPPED, why.message), now, seen)


def _ended(job: Job, seen: Observation, now: datetime) -> Decision:
    if seen.seen is Seen.STOPPED:
        by_hand = reason(ReasonCode.STOP_REQUESTED, "stopped on the cluster itself, not through raysvc")
        why = _wish_to_end(job, now) or by_hand
        return Decision(phase=JobPhase.STOPPING, reason=why, fields={"due_at": now}, look_at=now)
    if _missing(job, seen):
        lost = "the cluster no longer knows this attempt: its head was lost or its job table was wiped"
        seen = seen.model_copy(update={"seen": Seen.FAILED, "cause": ReasonCode.CLUSTER_LOST, "message": lost})
        # Should it be there all the same, it must not run beside the next attempt.
        return _end_or_retry(job, seen, now).model_copy(update={"effect": Effect.STOP})
    return _end_or_retry(job, seen, now)


def _end_or_retry(job: Job, seen: Observation, now: datetime) -> Decision:
    if seen.seen is Seen.SUCCEEDED:
        return _finish(job, JobPhase.SUCCEEDED, reason(ReasonCode.SUCCEEDED), now, seen)
    why = reason(seen.cause or ReasonCode.ENTRYPOINT_FAILED, seen.message)
    spec = job.spec.retry
    # One budget a class of fault; what the platform's own rules end is never tried again.
    budgets = {
        Fault.INFRASTRUCTURE: ("infrastructure_retries", job.infrastructure_retries, spec.infrastructure),
        Fault.USER: ("user_retries", job.user_retries, spec.user),
    }
    counter, used, allowed = budgets.get(why.fault, ("", 0, 0))
    past_deadline = job.deadline is not None and now >= job.deadline
    if job.stop_requested or past_deadline or used >= allowed:
        if why.fault is Fault.INFRASTRUCTURE and allowed and used >= allowed:
            why = why.model_copy(update={"message": f"{why.message} (after {used} of {allowed} retries)"})
        return _finish(job, JobPhase.FAILED, why, now, seen)
    wait = min(spec.max_backoff_s, spec.backoff_s * 2 ** min(used, 30))
    not_before = now + timedelta(seconds=wait)
    said = f"attempt {job.attempt} ended: {why.title.lower()}" + (f" ({why.message})" if why.message else "")
    fields = {
        **_closed_attempt(job, seen, why, now),
        counter: used + 1,
        "not_before": not_before,
        "due_at": job.deadline,
    }
    backoff = reason(ReasonCode.BACKOFF, f"{said}; retry {used + 1} of {allowed} in {wait:g} s")
    return Decision(phase=JobPhase.QUEUED, reason=backoff, fields=fields)


def _finish(job: Job, phase: JobPhase, why: Reason, now: datetime, seen: Observation | None = None) -> Decision:
    """Return the last move: the record is closed, and due at once for the archive of its logs."""
    began = _began(job, seen, now) if seen and seen.seen is Seen.SUCCEEDED and job.phase is JobPhase.STARTING else {}
    closed = _closed_attempt(job, seen, why, now, began) if job.phase in PLACED else {}
    at = (seen.finished_at if seen else None) or now
    return Decision(phase=phase, reason=why, fields={**began, **closed, "finished_at": at, "due_at": now}, look_at=now)


def _began(job: Job, seen: Observation, now: datetime) -> dict[str, Any]:
    at = seen.started_at or now
    attempts = job.with_attempt(started_at=at, node=seen.node)
    return {"started_at": job.started_at or at, "attempt_started_at": at, "attempts": attempts}


def _closed_attempt(
    job: Job, seen: Observation | None, why: Reason, now: datetime, began: dict[str, Any] | None = None
) -> dict[str, Any]:
    attempts: tuple[Attempt, ...] = (began or {}).get("attempts", job.attempts)
    end = {
        "finished_at": (seen.finished_at if seen else None) or now,
        "exit_code": seen.exit_code if seen else None,
        "reason": why,
    }
    return {"attempts": (*attempts[:-1], attempts[-1].model_copy(update=end)), "unknown_since": None}


def _wish_to_end(job: Job, now: datetime) -> Reason | None:
    if job.stop_requested:
        return reason(ReasonCode.STOP_REQUESTED)
    if job.deadline is not None and now >= job.deadline:
        return _timed_out(job)
    return None


def _timed_out(job: Job) -> Reason:
    return reason(ReasonCode.TIMED_OUT, f"timeout_s is {job.spec.timeout_s:g}, counted from its first start")


def _news(job: Job, code: ReasonCode, message: str = "") -> Reason | None:
    """Return the reason where it differs from the job's, so that an unchanged look saves nothing."""
    fresh = reason(code, message)
    return None if fresh == job.reason else fresh
