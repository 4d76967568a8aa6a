"""What is decided about an attempt that is made and waits for a further apply."""

from datetime import timedelta

from raysvc.control.decide import (
    GONE_AFTER,
    START_TIMEOUT,
    Effect,
    decide,
    refused,
)
from raysvc.domain.observation import Seen
from raysvc.domain.reason import ReasonCode, reason
from tests.unit.control.deciding import NOW, P, carry_out, gone, placed, seen, stop_wished


class TestWaiting:
    """Made, and its entrypoint is sent by a further apply: once, however often its cluster begins anew."""

    def test_while_it_starts_it_is_applied_again_and_is_said_to_start(self) -> None:
        job = placed(P.STARTING)
        job = carry_out(job, decide(job, seen(Seen.PENDING, message="its cluster starts"), NOW), NOW)
        decision = decide(job, seen(Seen.WAITING, message="not sent"), NOW)
        assert (decision.effect, decision.phase) == (Effect.APPLY, None)
        assert decision.reason == reason(ReasonCode.STARTING_ON_RAY)
        job = carry_out(job, decision, NOW)
        assert decide(job, seen(Seen.WAITING), NOW).reason is None, "nothing new is written at each look"

    def test_a_record_that_was_not_saved_after_the_first_apply_learns_that_it_was_sent(self) -> None:
        job = carry_out(placed(P.STARTING), decide(placed(P.STARTING), seen(Seen.WAITING), NOW), NOW)
        assert job.reason.code is ReasonCode.STARTING_ON_RAY
        assert gone(job)[1].phase is P.QUEUED

    def test_one_that_ran_is_never_begun_a_second_time_but_lost_and_stopped(self) -> None:
        job = placed(P.RUNNING)
        first = decide(job, seen(Seen.WAITING), NOW)
        assert (first.phase, first.effect, first.fields) == (None, Effect.NONE, {"unknown_since": NOW})
        later = NOW + GONE_AFTER
        decision = decide(carry_out(job, first, NOW), seen(Seen.WAITING), later)
        assert (decision.phase, decision.effect) == (P.QUEUED, Effect.STOP)
        assert decision.fields["attempts"][-1].reason.code is ReasonCode.CLUSTER_LOST
        assert decision.fields["infrastructure_retries"] == 1

    def test_one_old_answer_does_not_end_one_that_runs(self) -> None:
        job = carry_out(placed(), decide(placed(), seen(Seen.WAITING), NOW), NOW)
        back = carry_out(job, decide(job, seen(Seen.RUNNING), NOW), NOW)
        assert (back.phase, back.unknown_since) == (P.RUNNING, None)

    def test_a_stop_comes_before_a_further_apply_and_is_repeated(self) -> None:
        assert decide(stop_wished(placed(P.STARTING)), seen(Seen.WAITING), NOW).phase is P.STOPPING
        for job in (stop_wished(placed(P.STOPPING)), placed(P.STOPPING)):
            decision = decide(job, seen(Seen.WAITING), NOW)
            assert (decision.phase, decision.effect) == (None, Effect.STOP)

    def test_one_that_is_refused_when_it_is_to_begin_is_removed_before_it_ends(self) -> None:
        why = reason(ReasonCode.SECRET_MISSING, "no secret 'TOKEN'")
        job = carry_out(placed(P.STARTING), refused(placed(P.STARTING), why, NOW, made=True), NOW)
        assert (job.phase, job.reason) == (P.STOPPING, why)
        assert decide(job, seen(Seen.WAITING), NOW).effect is Effect.STOP
        assert gone(stop_wished(job))[1].phase is P.CANCELLED
        _, decision = gone(job)
        assert (decision.phase, decision.reason) == (P.FAILED, why)

    def test_one_that_waits_for_ever_is_given_up(self) -> None:
        later = NOW + START_TIMEOUT + timedelta(seconds=1)
        decision = decide(placed(P.STARTING), seen(Seen.WAITING), later)
        assert (decision.phase, decision.effect) == (P.STOPPING, Effect.NONE)
