"""What becomes of a shared cluster: one row a case, and any history at all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysvc.control.cluster.decide import decide, refused
from raysvc.control.step import Decision, Effect, changed
from raysvc.domain.cluster import MADE, ClusterPhase, ClusterSpec, NewCluster, NewScale, SharedCluster, create, scale
from raysvc.domain.event import EventKind
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode, reason

P = ClusterPhase
T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
TTL_S = 60.0


def cluster_in(phase: ClusterPhase, **fields: Any) -> SharedCluster:
    new = NewCluster(name="lab", spec=ClusterSpec(suspend_ttl_s=TTL_S))
    made, _ = create(new, uid="0000000000000001", project="default", owner="ada", now=T0)
    why = reason(ReasonCode.PROVISIONING)
    return made.model_copy(update={"phase": phase, "reason": why, "applied": 1, **fields})


def look(cluster: SharedCluster, seen: Seen, *, jobs: int = 0, after_s: float = 1, **about: Any) -> Decision:
    return decide(cluster, Observation(seen=seen, **about), jobs, T0 + timedelta(seconds=after_s))


@pytest.mark.parametrize(
    ("phase", "seen", "jobs", "after_s", "effect", "to"),
    [
        (P.STARTING, Seen.ABSENT, 0, 1, Effect.APPLY, None),
        (P.STARTING, Seen.PENDING, 0, 1, Effect.NONE, None),
        (P.STARTING, Seen.STOPPED, 1, 1, Effect.APPLY, None),
        (P.STARTING, Seen.RUNNING, 0, 1, Effect.NONE, P.READY),
        (P.STARTING, Seen.PENDING, 0, 600, Effect.NONE, None),
        (P.READY, Seen.RUNNING, 0, TTL_S - 1, Effect.NONE, None),
        (P.READY, Seen.RUNNING, 0, TTL_S, Effect.NONE, P.STOPPING),
        (P.READY, Seen.RUNNING, 1, 600, Effect.NONE, None),
        (P.READY, Seen.PENDING, 1, 1, Effect.NONE, P.DEGRADED),
        (P.READY, Seen.ABSENT, 1, 1, Effect.APPLY, P.DEGRADED),
        (P.DEGRADED, Seen.RUNNING, 1, 1, Effect.NONE, P.READY),
        (P.DEGRADED, Seen.PENDING, 0, 600, Effect.NONE, P.STOPPING),
        (P.STOPPING, Seen.RUNNING, 0, 1, Effect.APPLY, None),
        (P.STOPPING, Seen.RUNNING, 1, 1, Effect.APPLY, None),
        (P.STOPPING, Seen.STOPPED, 0, 1, Effect.NONE, P.SUSPENDED),
        (P.SUSPENDED, Seen.STOPPED, 0, 600, Effect.NONE, None),
        (P.SUSPENDED, Seen.STOPPED, 1, 600, Effect.NONE, P.STARTING),
        (P.SUSPENDED, Seen.RUNNING, 0, 1, Effect.APPLY, None),
    ],
)
def test_each_look_has_one_answer(
    phase: ClusterPhase, seen: Seen, jobs: int, after_s: float, effect: Effect, to: ClusterPhase | None
) -> None:
    decision = look(cluster_in(phase), seen, jobs=jobs, after_s=after_s)
    assert (decision.effect, decision.phase) == (effect, to)


def test_one_that_is_never_to_sleep_does_not() -> None:
    spec = ClusterSpec(suspend_ttl_s=None)
    assert look(cluster_in(P.READY, spec=spec), Seen.RUNNING, after_s=1e6).phase is None


def test_its_time_begins_when_its_last_job_has_ended() -> None:
    used = cluster_in(P.READY, idle_since=None)
    left = look(used, Seen.RUNNING, after_s=1000)
    assert left.fields["idle_since"] == T0 + timedelta(seconds=1000)
    assert look(cluster_in(P.READY), Seen.RUNNING, jobs=1).fields == {"idle_since": None}


def test_what_hinders_it_is_said() -> None:
    said = look(cluster_in(P.STARTING), Seen.PENDING, cause=ReasonCode.IMAGE_PULL_FAILED, message="no such image")
    assert said.reason == reason(ReasonCode.IMAGE_PULL_FAILED, "no such image")


def test_other_bounds_are_told_once() -> None:
    wider, _ = scale(cluster_in(P.READY, idle_since=None), NewScale(min=1, max=1), T0, actor="ada")
    told = look(wider, Seen.RUNNING, jobs=1)
    assert (told.effect, told.fields) == (Effect.APPLY, {"applied": 2})
    assert look(wider.model_copy(update=told.fields), Seen.RUNNING, jobs=1).effect is Effect.NONE


def test_what_cannot_be_told_moves_nothing_and_is_said_in_the_end() -> None:
    first = look(cluster_in(P.READY), Seen.UNKNOWN, after_s=600)
    assert (first.effect, first.phase, first.reason) == (Effect.NONE, None, None)
    silent = cluster_in(P.READY, unknown_since=T0)
    said = look(silent, Seen.UNKNOWN, after_s=5, message="no answer")
    assert (said.phase, said.reason) == (None, reason(ReasonCode.CLUSTER_UNREACHABLE, "no answer"))


def test_only_one_that_was_never_made_fails_where_it_is_refused() -> None:
    why = reason(ReasonCode.CLUSTER_REFUSED, "quota")
    assert refused(cluster_in(P.STARTING, applied=0), why).phase is P.FAILED
    assert refused(cluster_in(P.READY), why).phase is None


OBSERVED = st.sampled_from([Seen.ABSENT, Seen.PENDING, Seen.RUNNING, Seen.STOPPED, Seen.UNKNOWN])
STEPS = st.lists(st.tuples(OBSERVED, st.integers(0, 2), st.floats(0.1, 200), st.booleans()), max_size=40)


@given(STEPS)
def test_any_history_is_legal_and_sleeps_or_ends_only_where_it_may(steps: list[tuple[Seen, int, float, bool]]) -> None:
    cluster, now = cluster_in(P.PENDING, applied=0), T0
    for seen, jobs, seconds, delete in steps:
        now += timedelta(seconds=seconds)
        if delete and not cluster.stop_requested and cluster.phase is not P.GONE:
            cluster, _ = cluster.change(EventKind.STOP_REQUESTED, now, actor="ada", stop_requested=True)
        sight = Observation(seen=seen) if cluster.phase in MADE else None
        decision = decide(cluster, sight, jobs, now)
        deleting = cluster.stop_requested and cluster.phase is P.STOPPING
        assert (decision.effect is Effect.DELETE) <= deleting
        if decision.phase is P.GONE:
            assert seen is Seen.ABSENT
        if decision.phase is P.STOPPING and not cluster.stop_requested:
            assert jobs == 0
            assert cluster.idle_since is not None
            assert now - cluster.idle_since >= timedelta(seconds=TTL_S)
        if decision.changes:
            cluster, _ = changed(cluster, decision, now, "raysvc")  # raises IllegalTransition


@given(STEPS, st.booleans())
def test_from_any_state_it_comes_to_rest_as_it_is_wanted(
    steps: list[tuple[Seen, int, float, bool]], used: bool
) -> None:
    """A backend that does as it is told, and answers, brings each history to READY, SUSPENDED, or GONE."""
    cluster, now = cluster_in(P.PENDING, applied=0), T0
    for seen, jobs, seconds, delete in steps:
        now += timedelta(seconds=seconds)
        if delete and not cluster.stop_requested and cluster.phase is not P.GONE:
            cluster, _ = cluster.change(EventKind.STOP_REQUESTED, now, actor="ada", stop_requested=True)
        sight = Observation(seen=seen) if cluster.phase in MADE else None
        decision = decide(cluster, sight, jobs, now)
        cluster = changed(cluster, decision, now, "raysvc")[0] if decision.changes else cluster
    there = Seen.RUNNING
    for _ in range(200):
        now += timedelta(seconds=1)
        sight = Observation(seen=there) if cluster.phase in MADE else None
        decision = decide(cluster, sight, int(used), now)
        if decision.effect is Effect.APPLY:
            there = Seen.RUNNING if cluster.awake else Seen.STOPPED
        elif decision.effect is Effect.DELETE:
            there = Seen.ABSENT
        cluster = changed(cluster, decision, now, "raysvc")[0] if decision.changes else cluster
    wanted = P.GONE if cluster.stop_requested else P.READY if used else P.SUSPENDED
    assert cluster.phase is wanted
