"""What is decided about any job at all, as histories make them and as they cannot."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from raysvc.control.decide import Effect, admit, decide, refused
from raysvc.domain.job import JOB_TRANSITIONS, PLACED, Attempt, Job, JobPhase, JobSpec, Retry
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import Reason, ReasonCode, reason

from .deciding import NOW, P, carry_out, queued, stop_wished

observations = st.builds(
    Observation,
    seen=st.sampled_from(Seen),
    message=st.text(max_size=20),
    cause=st.none() | st.sampled_from(ReasonCode),
    exit_code=st.none() | st.integers(-64, 255),
)


@settings(deadline=None)
@given(
    looks=st.lists(st.tuples(observations, st.booleans(), st.floats(0, 2000)), max_size=30),
    retry=st.builds(Retry, infrastructure=st.integers(0, 2), user=st.integers(0, 2)),
    timeout_s=st.none() | st.floats(1, 5000),
)
def test_whatever_is_seen_each_step_is_legal_and_the_history_folds(
    looks: list[tuple[Observation, bool, float]], retry: Retry, timeout_s: float | None
) -> None:
    now = NOW
    job = queued(retry=retry.model_dump(), timeout_s=timeout_s)
    for look, stop, passed in looks:
        now += timedelta(seconds=passed)
        if stop and job.live:
            job = stop_wished(job)
        if job.phase is P.QUEUED and not job.stop_requested and (job.not_before or now) <= now:
            to, why, fields = admit(job, "local", now)
            job = job.to(to, why, now, **fields)[0]
        decision = decide(job, look if job.phase in PLACED else None, now)
        before = job
        job = carry_out(job, decision, now)  # raises IllegalTransition for a wrong edge
        if decision.phase is not None:
            assert decision.phase in JOB_TRANSITIONS[before.phase]
        if not job.live:
            assert job.finished_at is not None
            assert job.due_at is not None or job.finalised
        assert job.infrastructure_retries <= retry.infrastructure
        assert job.user_retries <= retry.user
        assert job.attempt == len(job.attempts)


MOMENTS = st.none() | st.integers(-10_000, 10_000).map(lambda s: NOW + timedelta(seconds=s))
REASONS = st.builds(reason, st.sampled_from(ReasonCode), st.text(max_size=5))
EVENTS = st.tuples(st.booleans(), st.booleans(), st.booleans())


@st.composite
def any_job(draw: st.DrawFn) -> Job:
    """Return a job as no history may have made it: every phase with every flag, every time before or after now."""
    phase, number = draw(st.sampled_from(JobPhase)), draw(st.integers(0, 3))
    if phase in PLACED:
        number = max(1, number)
    spec = JobSpec(
        entrypoint="true",
        timeout_s=draw(st.none() | st.floats(0.1, 20_000)),
        retry=draw(st.builds(Retry, infrastructure=st.integers(0, 2), user=st.integers(0, 2))),
    )
    attempts = tuple(
        Attempt(job="0" * 16, number=n + 1, cluster="local", created_at=draw(MOMENTS) or NOW, started_at=draw(MOMENTS))
        for n in range(number)
    )
    stop, finalised, deleted = draw(EVENTS)
    fields = {name: draw(MOMENTS) for name in ("started_at", "finished_at", "not_before", "unknown_since", "due_at")}
    return queued().model_copy(
        update={
            **fields,
            "spec": spec,
            "phase": phase,
            "reason": draw(REASONS),
            "attempt": number,
            "attempts": attempts,
            "stop_requested": stop,
            "finalised": finalised,
            "deleted": deleted,
            "infrastructure_retries": draw(st.integers(0, 3)),
            "user_retries": draw(st.integers(0, 3)),
            "created_at": draw(MOMENTS) or NOW,
            "updated_at": draw(MOMENTS) or NOW,
        }
    )


@settings(max_examples=600, deadline=None)
@given(job=any_job(), look=observations, why=REASONS)
def test_decide_is_total_legal_and_says_the_same_twice(job: Job, look: Observation, why: Reason) -> None:
    placed_now = job.phase in PLACED
    decision = decide(job, look if placed_now else None, NOW)
    assert decision == decide(job, look if placed_now else None, NOW)
    for one in (decision, refused(job, why, NOW)) if job.phase is P.STARTING else (decision,):
        after = carry_out(job, one, NOW)  # raises IllegalTransition for a wrong edge
        assert (one.phase is None) or one.reason is not None
        assert not (job.stop_requested and one.phase is P.QUEUED), "tried again after a stop"
        assert after.infrastructure_retries <= max(job.infrastructure_retries, job.spec.retry.infrastructure)
        assert after.user_retries <= max(job.user_retries, job.spec.retry.user)
        if placed_now and look.seen is Seen.UNKNOWN:
            assert one is not decision or one.phase is None, "moved without having seen anything"
        if decision.effect is Effect.APPLY:
            assert job.phase is P.STARTING
            assert look.seen in {Seen.ABSENT, Seen.WAITING}
    # Carried out, it is not to be done again: the same look from there writes nothing new but what time brings. After a
    # send it does: what was absent before it is another thing than what is absent after.
    if decision.phase is None and decision.effect is not Effect.APPLY and not job.deleted and job.live:
        assert not decide(carry_out(job, decision, NOW), look if placed_now else None, NOW).changes
