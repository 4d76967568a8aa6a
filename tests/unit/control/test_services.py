"""The life of a service, from deploy to delete, on fakes and virtual time."""

import pytest

from raysvc.domain.event import EventKind
from raysvc.domain.reason import ReasonCode
from raysvc.domain.service import ReplicaScale, ServicePhase
from raysvc.errors import AlreadyExists, Conflict, Invalid, NotFound
from tests.unit.control.service_world import ADA, ServicePlace, spec

P = ServicePhase
C = ReasonCode


@pytest.fixture
async def place() -> ServicePlace:
    return await ServicePlace().open()


async def test_a_service_is_deployed_becomes_healthy_is_routed_and_goes(place: ServicePlace) -> None:
    service = await place.deploy()
    assert service.phase is P.PENDING
    await place.step(4)
    found = await place.now()
    assert (found.phase, found.serving, found.reason.code) == (P.HEALTHY, 1, C.SERVING)
    await place.step()
    assert place.routed("chat") == place.routed("default/chat") == [f"{service.uid}-1-0"]
    await place.desk.delete(ADA, "default", "chat")
    await place.step(4)
    assert place.edge.routes == ()
    assert place.driver.there == {}
    with pytest.raises(NotFound):
        await place.now()
    gone = await place.store.services.get_by_uid(service.uid)
    assert (gone.phase, gone.deleted) == (P.GONE, True)
    await place.audit(service.uid)


async def test_a_name_is_free_again_once_its_service_is_gone(place: ServicePlace) -> None:
    first = await place.deploy()
    await place.desk.delete(ADA, "default", "chat")
    with pytest.raises(AlreadyExists):
        await place.deploy()
    await place.step(3)
    assert (await place.deploy()).uid != first.uid


async def test_the_same_deploy_again_is_the_same_service(place: ServicePlace) -> None:
    first = await place.deploy()
    again = await place.desk.deploy(ADA, "default", "chat", spec())
    assert (again.service.uid, again.created) == (first.uid, False)
    with pytest.raises(AlreadyExists, match="has a service 'chat' already"):
        await place.deploy(spec("/models/two"))


async def test_a_new_revision_takes_over_once_it_is_ready_and_the_old_one_goes_after_the_proxy_has_heard(
    place: ServicePlace,
) -> None:
    service = await place.deploy()
    await place.step(5)
    place.driver.startup_s = 10
    await place.desk.update(ADA, "default", "chat", spec("/models/two"))
    await place.step(3)
    found = await place.now()
    assert (found.phase, found.revision, found.serving) == (P.DEPLOYING, 2, 1)
    assert place.routed() == [f"{service.uid}-1-0"]
    await place.step(10)
    assert (await place.now()).serving == 2
    await place.step()
    assert place.routed() == [f"{service.uid}-2-0"]
    assert set(place.driver.there[service.uid].specs) == {1, 2}
    await place.step(6)
    assert set(place.driver.there[service.uid].specs) == {2}
    await place.audit(service.uid)


async def test_a_revision_that_fails_leaves_the_one_before_in_place(place: ServicePlace) -> None:
    service = await place.deploy()
    await place.step(5)
    place.driver.failures["/models/bad"] = (C.OUT_OF_MEMORY, "40 GiB do not fit into 24 GiB")
    await place.desk.update(ADA, "default", "chat", spec("/models/bad"))
    await place.step(4)
    found = await place.now()
    assert (found.phase, found.revision, found.serving) == (P.HEALTHY, 1, 1)
    assert found.spec.model == "/models/one"
    assert found.reason.code is C.ROLLED_BACK
    assert "40 GiB do not fit" in found.reason.message
    failed = found.of(2)
    assert failed is not None
    assert failed.reason is not None
    assert failed.reason.code is C.OUT_OF_MEMORY
    await place.step(3)
    assert set(place.driver.there[service.uid].specs) == {1}
    assert place.routed() == [f"{service.uid}-1-0"]
    assert (await place.now()).reason.code is C.ROLLED_BACK
    await place.audit(service.uid)


async def test_a_revision_that_fails_at_once_does_not_trouble_the_one_that_has_just_taken_over(
    place: ServicePlace,
) -> None:
    place.driver.failures["/models/bad"] = (C.ENGINE_FAILED, "no such architecture")
    await place.deploy()
    await place.step(3)
    assert (await place.now()).serving == 1
    await place.desk.update(ADA, "default", "chat", spec("/models/bad"))
    for _ in range(8):
        await place.step()
        assert (await place.now()).phase in {P.DEPLOYING, P.HEALTHY}
    assert (await place.now()).reason.code is C.ROLLED_BACK


async def test_a_first_revision_that_fails_holds_nothing_and_a_second_one_may_serve(place: ServicePlace) -> None:
    place.driver.failures["/models/bad"] = (C.ENGINE_FAILED, "no such architecture")
    service = await place.deploy(spec("/models/bad"))
    await place.step(5)
    found = await place.now()
    assert (found.phase, found.reason.code, found.reason.message) == (P.FAILED, C.ENGINE_FAILED, "no such architecture")
    assert place.driver.there == {}
    version = found.version
    await place.step(5)
    assert (await place.now()).version == version
    await place.desk.update(ADA, "default", "chat", spec("/models/one"))
    await place.step(4)
    assert (await place.now()).phase is P.HEALTHY
    await place.audit(service.uid)


async def test_replicas_that_are_never_ready_fail_the_revision_at_its_deadline(place: ServicePlace) -> None:
    await place.deploy(spec(start_timeout_s=20))
    place.silent = True
    await place.step(12)
    waiting = await place.now()
    assert (waiting.phase, waiting.reason.code) == (P.DEPLOYING, C.WAITING_FOR_REPLICAS)
    await place.step(15)
    late = await place.now()
    assert (late.phase, late.reason.code) == (P.FAILED, C.REPLICAS_LATE)
    assert "0 of 1 ready" in late.reason.message


async def test_a_replica_that_falls_silent_degrades_the_service_until_it_is_back(place: ServicePlace) -> None:
    service = await place.deploy()
    await place.step(15)
    place.silent = True
    await place.step(12)
    found = await place.now()
    assert (found.phase, found.reason.code) == (P.DEGRADED, C.REPLICAS_MISSING)
    assert place.routed() == []
    assert place.edge.routes[0].service == service.uid  # known, so that clients hear 503 and not 404
    place.silent = False
    await place.step(2)
    assert (await place.now()).phase is P.HEALTHY
    assert place.routed() == [f"{service.uid}-1-0"]


async def test_scaling_starts_no_engine_anew_and_makes_no_revision(place: ServicePlace) -> None:
    service = await place.deploy()
    await place.step(5)
    since = place.driver.there[service.uid].since[1]
    await place.desk.scale(ADA, "default", "chat", ReplicaScale(min=3, max=4))
    await place.step(4)
    found = await place.now()
    assert (found.phase, found.revision, len(found.revisions)) == (P.HEALTHY, 1, 1)
    assert place.driver.there[service.uid].since[1] == since
    assert len(place.routed()) == 3
    await place.audit(service.uid)


async def test_a_service_of_no_replica_at_least_is_healthy_without_one(place: ServicePlace) -> None:
    await place.deploy(spec(least=0))
    place.silent = True
    await place.step(4)
    found = await place.now()
    assert (found.phase, found.reason.code) == (P.HEALTHY, C.SCALED_TO_ZERO)


async def test_a_rollback_is_a_new_revision_with_the_old_spec(place: ServicePlace) -> None:
    await place.deploy()
    await place.step(5)
    await place.desk.update(ADA, "default", "chat", spec("/models/two"))
    await place.step(10)
    await place.desk.scale(ADA, "default", "chat", ReplicaScale(min=2, max=2))
    await place.step(3)
    back = (await place.desk.rollback(ADA, "default", "chat")).service
    assert (back.revision, back.spec.model, back.spec.replicas.min) == (3, "/models/one", 2)
    await place.step(10)
    found = await place.now()
    assert (found.phase, found.serving) == (P.HEALTHY, 3)
    with pytest.raises(Conflict, match="at revision 3 already"):
        await place.desk.rollback(ADA, "default", "chat", 3)
    with pytest.raises(Invalid, match="those kept are 1, 2, 3"):
        await place.desk.rollback(ADA, "default", "chat", 9)


async def test_a_rollback_from_a_revision_on_its_way_starts_nothing(place: ServicePlace) -> None:
    service = await place.deploy()
    await place.step(5)
    since = place.driver.there[service.uid].since[1]
    place.driver.startup_s = 100
    await place.desk.update(ADA, "default", "chat", spec("/models/two"))
    await place.step(2)
    place.driver.startup_s = 0
    back = (await place.desk.rollback(ADA, "default", "chat")).service
    assert (back.revision, back.serving) == (1, 1)
    await place.step(4)
    assert (await place.now()).phase is P.HEALTHY
    assert place.driver.there[service.uid].since == {1: since}


async def test_there_is_nothing_to_roll_back_to_at_first(place: ServicePlace) -> None:
    await place.deploy()
    with pytest.raises(Conflict, match="no earlier revision"):
        await place.desk.rollback(ADA, "default", "chat")


async def test_what_the_backend_refuses_for_good_fails_with_its_words(place: ServicePlace) -> None:
    await place.deploy()
    place.driver.refusal = "not with this head"
    await place.step(3)
    found = await place.now()
    assert (found.phase, found.reason.code, found.reason.message) == (P.FAILED, C.SERVICE_REFUSED, "not with this head")


async def test_a_dry_run_keeps_nothing_and_shows_what_would_be_sent(place: ServicePlace) -> None:
    receipt = await place.desk.deploy(ADA, "default", "chat", spec(), dry_run=True)
    assert receipt.rendered is not None
    assert receipt.rendered.documents[0]["method"] == "PUT"
    assert await place.store.services.live() == []


async def test_a_server_that_starts_anew_neither_degrades_nor_unroutes_before_replicas_have_had_their_turn(
    place: ServicePlace,
) -> None:
    await place.deploy()
    await place.step(15)
    routed, taken = place.routed(), place.edge.taken
    place.clock.advance(60)
    place.reborn()
    place.silent = True
    await place.step(5)
    assert ((await place.now()).phase, place.routed(), place.edge.taken) == (P.HEALTHY, routed, taken)
    await place.step(10)
    assert ((await place.now()).phase, place.routed()) == (P.DEGRADED, [])


async def test_another_server_hears_of_replicas_that_report_to_this_one(place: ServicePlace) -> None:
    await place.deploy()
    await place.step(5)
    routed = place.routed()
    place.edge.routes = ()
    place.reborn("two")
    place.silent = True
    await place.loop.step()  # it does not lead, and nobody reports to it
    assert place.routed() == routed != []


async def test_a_replica_cannot_have_requests_sent_to_another_machine(place: ServicePlace) -> None:
    await place.deploy()
    await place.step(4)
    (report,) = place.driver.reports()
    for host in ("192.0.2.1", "elsewhere.example", ""):
        moved = report.model_copy(update={"host": host})
        with pytest.raises(Invalid, match="no other") as refused:
            await place.replicas.report(place.vault.replica_token(report.service), moved)
        assert (refused.value.status, refused.value.field) == (400, "host")
    assert [it.host for it in place.replicas.of(report.service)] == ["127.0.0.1"]


async def test_an_orphan_on_the_cluster_is_swept(place: ServicePlace) -> None:
    service = await place.deploy()
    await place.step(3)
    left = place.driver.there[service.uid]
    await place.desk.delete(ADA, "default", "chat")
    await place.step(3)
    place.driver.there[service.uid] = left  # as by an apply that was on its way for long
    await place.step(31)
    assert place.driver.there == {}


async def test_a_cluster_that_lost_it_is_told_again(place: ServicePlace) -> None:
    service = await place.deploy()
    await place.step(5)
    place.driver.there.clear()
    await place.step(2)
    assert service.uid in place.driver.there


async def test_events_say_who_wished_what(place: ServicePlace) -> None:
    service = await place.deploy()
    await place.step(5)
    await place.desk.update(ADA, "default", "chat", spec("/models/two"))
    events = await place.store.services.events(service.uid)
    revised = [event for event in events if event.kind is EventKind.REVISED]
    assert [(event.actor, event.message) for event in revised] == [("ada", "revision 2 by ada")]
