"""Services and their replicas as they are kept, on every store."""

from datetime import timedelta

import pytest

from raysvc.domain.event import Event, EventKind, fold
from raysvc.domain.reason import ReasonCode, reason
from raysvc.domain.replica import ReplicaState, Sighting
from raysvc.domain.service import Service, ServicePhase, ServiceSpec, deploy, revise
from raysvc.errors import AlreadyExists, NotFound, StaleVersion
from raysvc.ports import Store
from tests.contract.store.make import START, seconds

P = ServicePhase


def uid(number: int) -> str:
    return f"{number:016}"


def service(number: int = 1, name: str = "chat", project: str = "default") -> tuple[Service, list[Event]]:
    """Return a new service and its first event."""
    made, event = deploy(
        ServiceSpec(model="/models/é"), name=name, uid=uid(number), project=project, owner="ada", now=seconds(number)
    )
    return made, [event]


async def added(store: Store, number: int = 1, **fields: str) -> Service:
    made, events = service(number, **fields)
    await store.services.add(made, events)
    return made


async def gone(store: Store, found: Service, at: float) -> Service:
    """Take a service to its end."""
    stopping, first = found.to(P.STOPPING, reason(ReasonCode.STOP_REQUESTED), seconds(at))
    over, second = stopping.to(
        P.GONE, reason(ReasonCode.SERVICE_DELETED), seconds(at), deleted=True, finished_at=seconds(at)
    )
    await store.services.save(over, [first, second])
    return over


async def test_a_service_is_kept_with_its_events_and_is_their_fold(store: Store) -> None:
    first = await added(store)
    changes = revise(first, ServiceSpec(model="/models/two"), seconds(5), actor="bob")
    last = changes[-1][0]
    await store.services.save(last, [event for _, event in changes])
    assert await store.services.get("default", "chat") == await store.services.get_by_uid(first.uid) == last
    events = await store.services.events(first.uid)
    assert fold(events) == last.model_dump(mode="json")
    assert list(await store.services.events(first.uid, after=1)) == list(events[1:])
    assert list(await store.services.events(first.uid, limit=1)) == list(events[:1])


async def test_a_name_is_one_services_of_its_project_until_that_is_gone(store: Store) -> None:
    first = await added(store)
    other = await added(store, 2, project="research")
    with pytest.raises(AlreadyExists):
        await added(store, 3)
    assert list(await store.services.live()) == [first, other]
    over = await gone(store, first, 10)
    with pytest.raises(NotFound):
        await store.services.get("default", "chat")
    assert await store.services.get_by_uid(first.uid) == over
    again = await added(store, 3)
    assert list(await store.services.live()) == [other, again]


async def test_of_two_who_save_at_once_one_must_read_again(store: Store) -> None:
    first = await added(store)
    one, by_one = first.change(EventKind.REASON, seconds(5), actor="one", applied=1)
    other, by_other = first.change(EventKind.REASON, seconds(5), actor="other", applied=2)
    await store.services.save(one, [by_one])
    with pytest.raises(StaleVersion):
        await store.services.save(other, [by_other])
    assert await store.services.get_by_uid(first.uid) == one
    assert len(await store.services.events(first.uid)) == 2


async def test_one_whose_lease_was_taken_since_changes_nothing(store: Store) -> None:
    first = await added(store)
    late = await store.leases.acquire("reconciler", "a", now=START, ttl_s=1)
    held = await store.leases.acquire("reconciler", "b", now=seconds(5), ttl_s=1)
    assert late is not None
    assert held is not None
    changed, event = first.change(EventKind.REASON, seconds(6), actor="a", applied=1)
    with pytest.raises(StaleVersion, match="taken by another"):
        await store.services.save(changed, [event], fence=late)
    await store.services.save(changed, [event], fence=held)
    assert await store.services.get_by_uid(first.uid) == changed


async def test_what_is_not_there_is_not_found(store: Store) -> None:
    made, events = service()
    with pytest.raises(NotFound):
        await store.services.get("default", "chat")
    with pytest.raises(NotFound):
        await store.services.get_by_uid(uid(1))
    with pytest.raises(NotFound):
        await store.services.save(made, events)
    assert list(await store.services.events(uid(1))) == []


async def test_those_that_are_long_gone_are_pruned_oldest_first_with_what_hangs_on_them(store: Store) -> None:
    ended = [await gone(store, await added(store, number, name=f"s{number}"), 10 - number) for number in (1, 2, 3)]
    lives = await added(store, 4)
    await store.sightings.put([sighting(1, "r", 1), sighting(4, "r", 1)])
    assert list(await store.services.prune(finished_before=seconds(9), limit=1)) == [ended[2]]
    assert list(await store.services.prune(finished_before=seconds(9), limit=9)) == [ended[1]]
    assert list(await store.services.prune(finished_before=seconds(99), limit=9)) == [ended[0]]
    assert list(await store.services.events(ended[0].uid)) == []
    assert list(await store.services.live()) == [lives]
    assert [it.service for it in await store.sightings.since(START)] == [lives.uid]


def sighting(number: int, replica: str, at: float, port: int = 1) -> Sighting:
    return Sighting(
        service=uid(number),
        replica=replica,
        revision=1,
        host="127.0.0.1",
        port=port,
        state=ReplicaState.READY,
        at=seconds(at),
    )


async def test_replicas_are_told_of_as_they_were_last_seen(store: Store) -> None:
    await added(store, 1)
    await added(store, 2, name="other")
    first, other, late = sighting(1, "a", 1), sighting(1, "b", 5), sighting(2, "a", 6)
    await store.sightings.put([late, other, first])
    assert list(await store.sightings.since(START)) == [first, other, late]
    assert list(await store.sightings.since(seconds(5))) == [other, late]
    moved = sighting(1, "a", 7, port=2)
    await store.sightings.put([moved])
    assert list(await store.sightings.since(seconds(6.5))) == [moved]
    await store.sightings.forget(seconds(6))
    assert list(await store.sightings.since(START)) == [moved, late]


async def test_a_replica_of_a_service_that_is_not_there_is_left_out(store: Store) -> None:
    await added(store, 1)
    await store.sightings.put([])
    await store.sightings.put([sighting(1, "a", 1), sighting(9, "a", 1)])
    assert [it.service for it in await store.sightings.since(START - timedelta(days=1))] == [uid(1)]
