"""What is decided about one job, phase by phase."""

from datetime import timedelta
from itertools import product

import pytest

from raysvc.control.decide import (
    GONE_AFTER,
    LONGEST_LOOK,
    START_TIMEOUT,
    Effect,
    admit,
    decide,
    look_interval,
    refused,
)
from raysvc.domain.job import LIVE, PLACED, JobPhase
from raysvc.domain.observation import ENDED, Seen
from raysvc.domain.reason import ReasonCode, reason
from tests.unit.control.deciding import NOW, P, carry_out, gone, placed, queued, seen, stop_wished


class TestStarting:
    def test_an_attempt_that_is_absent_is_applied(self) -> None:
        decision = decide(placed(P.STARTING), seen(Seen.ABSENT), NOW)
        assert decision.effect is Effect.APPLY
        assert decision.phase is None

    def test_a_running_attempt_moves_the_job_and_starts_its_clock(self) -> None:
        job = placed(P.RUNNING)
        assert job.started_at == NOW
        assert job.attempts[-1].node == "n1"

    def test_a_short_job_seen_only_at_its_end_still_has_a_start(self) -> None:
        ended = seen(Seen.SUCCEEDED, exit_code=0, started_at=NOW, finished_at=NOW + timedelta(seconds=1))
        job = carry_out(placed(P.STARTING), decide(placed(P.STARTING), ended, NOW), NOW)
        assert job.phase is P.SUCCEEDED
        assert (job.started_at, job.finished_at) == (NOW, NOW + timedelta(seconds=1))
        assert job.attempts[-1].exit_code == 0

    def test_one_that_never_runs_is_given_up_and_tried_again(self) -> None:
        later = NOW + START_TIMEOUT + timedelta(seconds=1)
        job = placed(P.STARTING)
        job = carry_out(job, decide(job, seen(Seen.PENDING), later), later)
        assert (job.phase, job.reason.code) == (P.STOPPING, ReasonCode.START_TIMED_OUT)
        job = carry_out(job, decide(job, seen(Seen.STOPPED), later), later)
        assert (job.phase, job.infrastructure_retries) == (P.QUEUED, 1)

    def test_the_backends_cause_is_shown_while_it_waits(self) -> None:
        waiting = seen(Seen.PENDING, message="waiting for resources")
        decision = decide(placed(P.STARTING), waiting, NOW)
        assert decision.reason == reason(ReasonCode.STARTING_ON_RAY, "waiting for resources")

    def test_a_refusal_ends_it_with_the_backends_words(self) -> None:
        why = reason(ReasonCode.BACKEND_REFUSED, "no such runtime_env field")
        decision = refused(placed(P.STARTING), why, NOW)
        assert (decision.phase, decision.reason) == (P.FAILED, why)


class TestRunning:
    def test_an_exit_code_fails_it_without_retry(self) -> None:
        failed = seen(Seen.FAILED, cause=ReasonCode.ENTRYPOINT_FAILED, exit_code=3)
        decision = decide(placed(), failed, NOW)
        assert decision.phase is P.FAILED
        assert decision.fields["attempts"][-1].exit_code == 3

    def test_an_exit_code_is_retried_where_the_user_asked(self) -> None:
        failed = seen(Seen.FAILED, cause=ReasonCode.ENTRYPOINT_FAILED, exit_code=3)
        job = placed(retry={"user": 1, "backoff_s": 5})
        job = carry_out(job, decide(job, failed, NOW), NOW)
        assert (job.phase, job.not_before) == (P.QUEUED, NOW + timedelta(seconds=5))
        assert job.reason.code is ReasonCode.BACKOFF

    def test_a_lost_cluster_is_retried_by_default_with_growing_waits_until_the_budget_is_spent(self) -> None:
        job, waits = placed(retry={"infrastructure": 2, "backoff_s": 2}), []
        for _ in range(2):
            job = carry_out(*gone(job), NOW)
            assert job.phase is P.QUEUED
            waits.append((job.not_before or NOW) - NOW)
            to, why, fields = admit(job, "local", NOW)
            job = job.to(to, why, NOW, **fields)[0]
            job = carry_out(job, decide(job, seen(Seen.RUNNING), NOW), NOW)
        assert waits == [timedelta(seconds=2), timedelta(seconds=4)]
        job = carry_out(*gone(job), NOW)
        assert (job.phase, job.reason.code, job.attempt) == (P.FAILED, ReasonCode.CLUSTER_LOST, 3)

    def test_its_timeout_counts_from_the_first_attempt(self) -> None:
        job = carry_out(*gone(placed(timeout_s=60)), NOW)
        late = NOW + timedelta(seconds=61)
        job = carry_out(job, decide(job, None, late), late)
        assert (job.phase, job.reason.code) == (P.FAILED, ReasonCode.TIMED_OUT)

    def test_a_running_job_past_its_timeout_is_stopped_then_failed(self) -> None:
        late = NOW + timedelta(seconds=61)
        job = placed(timeout_s=60)
        job = carry_out(job, decide(job, seen(Seen.RUNNING), late), late)
        assert job.phase is P.STOPPING
        assert decide(job, seen(Seen.RUNNING), late).effect is Effect.STOP
        job = carry_out(job, decide(job, seen(Seen.STOPPED), late), late)
        assert (job.phase, job.reason.code) == (P.FAILED, ReasonCode.TIMED_OUT)

    def test_silence_moves_nothing_and_is_said_after_a_while(self) -> None:
        job = placed()
        first = decide(job, seen(Seen.UNKNOWN, message="refused"), NOW)
        assert (first.phase, first.effect) == (None, Effect.NONE)
        job = carry_out(job, first, NOW)
        later = NOW + timedelta(seconds=10)
        said = decide(job, seen(Seen.UNKNOWN, message="refused"), later)
        assert said.reason == reason(ReasonCode.CLUSTER_UNREACHABLE, "refused")
        job = carry_out(job, said, later)
        back = carry_out(job, decide(job, seen(Seen.RUNNING), later), later)
        assert (back.reason.code, back.unknown_since) == (ReasonCode.RUNNING, None)

    def test_an_unchanged_look_saves_nothing(self) -> None:
        assert not decide(placed(), seen(Seen.RUNNING), NOW + timedelta(seconds=5)).changes


class TestGone:
    """Absent is not lost: one old answer must not start a second attempt beside the first."""

    def test_one_look_is_not_enough(self) -> None:
        job = placed()
        first = decide(job, seen(Seen.ABSENT), NOW)
        assert (first.phase, first.effect, first.fields) == (None, Effect.NONE, {"unknown_since": NOW})
        back = carry_out(carry_out(job, first, NOW), decide(carry_out(job, first, NOW), seen(Seen.RUNNING), NOW), NOW)
        assert (back.phase, back.unknown_since) == (P.RUNNING, None)

    def test_still_absent_a_while_later_it_is_lost_and_stopped_in_case_it_is_there(self) -> None:
        _, decision = gone(placed())
        assert (decision.phase, decision.effect) == (P.QUEUED, Effect.STOP)
        assert decision.fields["attempts"][-1].reason.code is ReasonCode.CLUSTER_LOST

    def test_after_silence_the_first_answer_counts(self) -> None:
        job = carry_out(placed(), decide(placed(), seen(Seen.UNKNOWN), NOW), NOW)
        assert decide(job, seen(Seen.ABSENT), NOW + GONE_AFTER).phase is P.QUEUED

    def test_an_attempt_that_was_sent_is_not_sent_again(self) -> None:
        job = placed(P.STARTING)
        job = carry_out(job, decide(job, seen(Seen.ABSENT), NOW), NOW)
        assert job.reason.code is ReasonCode.STARTING_ON_RAY
        _, decision = gone(job)
        assert (decision.phase, decision.effect) == (P.QUEUED, Effect.STOP)

    def test_one_that_was_never_sent_is_sent_after_any_silence(self) -> None:
        job = placed(P.STARTING)
        for passed in (0, 10):
            now = NOW + timedelta(seconds=passed)
            job = carry_out(job, decide(job, seen(Seen.UNKNOWN, message="refused"), now), now)
        assert job.reason == reason(ReasonCode.SUBMITTING, "refused")
        assert decide(job, seen(Seen.ABSENT), now).effect is Effect.APPLY


class TestStop:
    def test_in_the_queue_it_is_immediate(self) -> None:
        assert decide(stop_wished(queued()), None, NOW).phase is P.CANCELLED

    @pytest.mark.parametrize("phase", [P.STARTING, P.RUNNING])
    def test_while_placed_it_goes_through_stopping(self, phase: JobPhase) -> None:
        decision = decide(stop_wished(placed(phase)), seen(Seen.RUNNING), NOW)
        assert decision.phase is P.STOPPING

    @pytest.mark.parametrize(
        ("what", "end"),
        [
            (Seen.STOPPED, P.CANCELLED),
            (Seen.SUCCEEDED, P.SUCCEEDED),
            (Seen.FAILED, P.FAILED),
        ],
    )
    def test_it_wins_unless_the_job_had_ended(self, what: Seen, end: JobPhase) -> None:
        job = stop_wished(placed(P.STOPPING))
        assert decide(job, seen(what), NOW).phase is end

    def test_of_one_that_is_gone_it_has_worked(self) -> None:
        _, decision = gone(stop_wished(placed(P.STOPPING)))
        assert decision.phase is P.CANCELLED
        assert decision.effect is Effect.STOP, "it may have come since it was looked for"

    def test_silence_does_not_make_it_forget_why_it_stops(self) -> None:
        late = NOW + timedelta(seconds=61)
        job = placed(timeout_s=60)
        job = carry_out(job, decide(job, seen(Seen.RUNNING), late), late)
        for passed in (0, 10):
            now = late + timedelta(seconds=passed)
            job = carry_out(job, decide(job, seen(Seen.UNKNOWN, message="refused"), now), now)
        job = carry_out(job, decide(job, seen(Seen.ABSENT), now), now)
        assert (job.phase, job.reason.code) == (P.FAILED, ReasonCode.TIMED_OUT)

    def test_it_is_repeated_until_it_worked(self) -> None:
        job = stop_wished(placed(P.STOPPING))
        assert decide(job, seen(Seen.RUNNING), NOW).effect is Effect.STOP

    def test_a_stopped_job_is_never_retried(self) -> None:
        job = stop_wished(placed(retry={"user": 5, "infrastructure": 5}))
        assert decide(job, seen(Seen.FAILED, cause=ReasonCode.DRIVER_LOST), NOW).phase is P.FAILED

    def test_one_on_the_cluster_itself_cancels_too(self) -> None:
        job = placed()
        job = carry_out(job, decide(job, seen(Seen.STOPPED), NOW), NOW)
        job = carry_out(job, decide(job, seen(Seen.STOPPED), NOW), NOW)
        assert job.phase is P.CANCELLED
        assert "not through raysvc" in job.reason.message


def test_the_end_is_finalised_once_and_a_deleted_job_purged() -> None:
    job = placed()
    job = carry_out(job, decide(job, seen(Seen.SUCCEEDED), NOW), NOW)
    assert (job.due_at, job.finalised) == (NOW, False)
    last = decide(job, None, NOW)
    assert last.effect is Effect.FINALISE
    job = carry_out(job, last, NOW)
    assert (job.due_at, job.finalised) == (None, True)
    assert decide(job.model_copy(update={"deleted": True}), None, NOW).effect is Effect.PURGE


def test_looks_get_rarer_as_a_job_ages() -> None:
    job = placed()
    intervals = [look_interval(job, NOW + timedelta(seconds=s)) for s in (0, 5, 100)]
    assert intervals == sorted(intervals)
    assert intervals[-1] == LONGEST_LOOK


def test_decide_is_total_over_phases_and_what_can_be_seen() -> None:
    for phase, what, stop in product(PLACED, Seen, (False, True)):
        job = placed(phase)
        decision = decide(stop_wished(job) if stop else job, seen(what), NOW)
        moved = decision.phase or phase
        assert moved in LIVE or what in ENDED
