"""What `decide` does of a service, for every state and sight; and random histories on fakes that end well."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from raysvc.control.serving.decide import Sight, decide, failed
from raysvc.control.step import Decision, Effect, changed
from raysvc.domain.event import fold
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode, reason
from raysvc.domain.service import PLACED, ReplicaScale, Revision, Service, ServicePhase, deploy
from raysvc.errors import Conflict
from raysvc.testing.backend import Faults
from tests.unit.control.service_world import ADA, ServicePlace, spec

T = TypeVar("T")
P = ServicePhase
C = ReasonCode
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Words of a backend for what it cannot start, and the models that stand for them here.
BAD = {"/models/oom": C.OUT_OF_MEMORY, "/models/none": C.MODEL_NOT_FOUND}

instants = st.integers(-4000, 4000).map(lambda seconds: NOW + timedelta(seconds=seconds))
observations = st.builds(
    Observation,
    seen=st.sampled_from(Seen),
    message=st.sampled_from(("", "said so")),
    cause=st.sampled_from((None, C.OUT_OF_MEMORY, C.INSUFFICIENT_RESOURCES)),
)
sights = st.builds(
    Sight, observations, ready=st.dictionaries(st.integers(1, 3), st.integers(0, 3), max_size=3), settled=st.booleans()
)


@st.composite
def services(draw: st.DrawFn) -> Service:
    """Draw a service as the loop may find one."""
    wanted = spec(least=draw(st.integers(0, 2)), most=2)
    made, _ = deploy(wanted, name="chat", uid="0" * 16, project="default", owner="ada", now=NOW)
    phase = draw(st.sampled_from(sorted(set(P) - {P.GONE})))
    revision = draw(st.integers(1, 3))
    serving = 0 if phase in {P.PENDING, P.FAILED} else draw(st.integers(0, 3))
    if phase in {P.HEALTHY, P.DEGRADED}:
        serving = revision
    generation = draw(st.integers(1, 3))
    return made.model_copy(
        update={
            "phase": phase,
            "revision": revision,
            "revisions": tuple(Revision(number=n, spec=wanted, created_at=NOW, by="ada") for n in (1, 2, 3)),
            "serving": serving,
            "generation": generation,
            "applied": draw(st.integers(0, generation)),
            "deploying_since": draw(st.none() | instants),
            "switched_at": draw(st.none() | instants),
            "unknown_since": draw(st.none() | instants),
            "stop_requested": draw(st.booleans()),
        }
    )


def step(service: Service, sight: Sight) -> Decision:
    return decide(service, sight if service.phase in PLACED else None, NOW)


@given(services(), sights)
@settings(max_examples=100)
def test_every_decision_is_an_edge_of_the_state_machine_and_can_be_saved(service: Service, sight: Sight) -> None:
    decision = step(service, sight)
    if decision.changes:
        after, event = changed(service, decision, NOW, "raysvc")  # raises IllegalTransition
        assert (after.version, event.seq) == (service.version + 1, service.version + 1)
        Service.model_validate(after.model_dump())


@given(services(), sights)
@settings(max_examples=100)
def test_what_cannot_be_seen_neither_moves_nor_touches_anything(service: Service, sight: Sight) -> None:
    blind = Sight(Observation(seen=Seen.UNKNOWN, message="no answer"), sight.ready, settled=sight.settled)
    decision = step(service, blind)
    if service.phase in PLACED - {P.STOPPING} and not service.stop_requested:
        assert (decision.effect, decision.phase) == (Effect.NONE, None)


@given(services(), sights)
@settings(max_examples=100)
def test_requests_go_to_another_revision_only_when_that_has_enough_replicas(service: Service, sight: Sight) -> None:
    decision = step(service, sight)
    serving = decision.fields.get("serving", service.serving)
    if serving != service.serving:
        assert serving == service.revision
        assert sight.ready.get(serving, 0) >= service.spec.replicas.min
        assert decision.phase is P.HEALTHY


@given(services(), sights)
@settings(max_examples=100)
def test_a_wish_to_end_comes_before_all_else(service: Service, sight: Sight) -> None:
    service = service.model_copy(update={"stop_requested": True})
    decision = step(service, sight)
    assert decision.phase is P.STOPPING or service.phase is P.STOPPING
    assert decision.effect in {Effect.NONE, Effect.DELETE}


@given(services(), sights)
@settings(max_examples=100)
def test_a_look_that_finds_nothing_new_saves_nothing(service: Service, sight: Sight) -> None:
    for _ in range(8):
        decision = step(service, sight)
        if not decision.changes:
            return
        service, _ = changed(service, decision, NOW, "raysvc")
        if service.phase is P.GONE:
            return
    pytest.fail(f"the same sight goes on changing it: {service.phase} {decision}")


@pytest.mark.parametrize(
    ("serving", "revision", "standing", "phase", "code"),
    [
        (0, 1, False, P.FAILED, C.ENGINE_FAILED),
        (1, 2, True, P.HEALTHY, C.ROLLED_BACK),
        (1, 2, False, P.DEGRADED, C.ROLLED_BACK),
        (2, 2, True, P.DEGRADED, C.ENGINE_FAILED),
    ],
)
def test_a_failure_goes_back_to_what_serves_or_ends_it(
    serving: int, revision: int, standing: bool, phase: ServicePhase, code: ReasonCode
) -> None:
    made, _ = deploy(spec(), name="chat", uid="0" * 16, project="default", owner="ada", now=NOW)
    revisions = tuple(Revision(number=n, spec=spec(), created_at=NOW, by="ada") for n in (1, 2))
    service = made.model_copy(update={"serving": serving, "revision": revision, "revisions": revisions})
    decision = failed(service, reason(C.ENGINE_FAILED, "bad"), NOW, standing=standing)
    assert decision.reason is not None
    assert (decision.phase, decision.reason.code) == (phase, code)
    assert decision.fields.get("revision", revision) == (serving or revision)


class Histories(RuleBasedStateMachine):
    """People wish, engines fail, calls are lost, servers die: the record stays the fold of its events, and in the end
    what serves is what was last wanted and can be served, or nothing is left.
    """

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.place = self.loop.run_until_complete(ServicePlace().open())
        self.place.driver.failures.update({model: (code, "as told") for model, code in BAD.items()})
        self.service = self.loop.run_until_complete(self.place.deploy())
        self.deleted = False

    @rule(seconds=st.integers(1, 8))
    def time_passes(self, seconds: int) -> None:
        self._run(self.place.step(seconds))

    @rule(model=st.sampled_from(("/models/one", "/models/two", *BAD)))
    def somebody_updates(self, model: str) -> None:
        if not self.deleted:
            wanted = spec(model, least=1, most=2)
            self._run(self.place.desk.update(ADA, "default", "chat", wanted))

    @rule(least=st.integers(0, 2))
    def somebody_scales(self, least: int) -> None:
        if not self.deleted:
            self._run(self.place.desk.scale(ADA, "default", "chat", ReplicaScale(min=least, max=2)))

    @rule()
    def somebody_rolls_back(self) -> None:
        if not self.deleted:
            try:
                self._run(self.place.desk.rollback(ADA, "default", "chat"))
            except Conflict:
                return

    @rule(startup_s=st.sampled_from((0.0, 3.0)), lost=st.sampled_from((0.0, 0.5)))
    def the_world_changes(self, startup_s: float, lost: float) -> None:
        self.place.driver.startup_s = startup_s
        self.place.backend.faults = Faults(refused=lost, reply_lost=lost / 2, unknown=lost)

    @rule()
    def the_server_dies_and_another_begins(self) -> None:
        self.place.reborn()

    @rule()
    def the_cluster_forgets(self) -> None:
        self.place.driver.there.clear()

    @rule()
    def somebody_deletes(self) -> None:
        if not self.deleted:
            self._run(self.place.desk.delete(ADA, "default", "chat"))
            self.deleted = True

    @invariant()
    def the_record_is_the_fold_of_its_events(self) -> None:
        events = self._run(self.place.store.services.events(self.service.uid))
        kept = self._run(self.place.store.services.get_by_uid(self.service.uid))
        assert fold(events) == kept.model_dump(mode="json")

    @invariant()
    def at_most_two_revisions_are_there(self) -> None:
        assert self.place.driver.most.get(self.service.uid, 0) <= 2

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        self.place.backend.faults = Faults()
        self.place.driver.startup_s = 0.0
        self._run(self.place.step(40))
        kept = self._run(self.place.store.services.get_by_uid(self.service.uid))
        there = self.place.driver.there.get(kept.uid)
        if self.deleted:
            assert (kept.phase, there, self.place.edge.routes) == (P.GONE, None, ())
        elif kept.phase is P.FAILED:
            assert there is None
            assert kept.spec.model in BAD
        else:
            assert (kept.phase, kept.serving) == (P.HEALTHY, kept.revision)
            assert there is not None
            assert set(there.specs) == {kept.revision}
            assert kept.spec.model not in BAD
            assert self.place.routed()
        self.loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)


Histories.TestCase.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)
TestHistories = Histories.TestCase
