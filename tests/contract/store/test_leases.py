"""Leases: one holder at a time, and a token that grows with each."""

import pytest

from raysvc.ports import Lease, Store
from tests.contract.store.make import seconds


async def acquire(store: Store, holder: str, at: float, ttl_s: float = 10) -> Lease | None:
    return await store.leases.acquire("reconciler", holder, now=seconds(at), ttl_s=ttl_s)


async def test_a_lease_is_held_by_one(store: Store) -> None:
    lease = await acquire(store, "a", 0)
    assert lease == Lease(name="reconciler", holder="a", token=1, deadline=seconds(10))
    assert await acquire(store, "b", 9.999) is None
    assert await store.leases.acquire("other", "b", now=seconds(0), ttl_s=1) is not None


async def test_its_holder_renews_it_under_the_same_token(store: Store) -> None:
    await acquire(store, "a", 0)
    lease = await acquire(store, "a", 5)
    assert lease is not None
    assert (lease.token, lease.deadline) == (1, seconds(15))
    assert await acquire(store, "b", 12) is None


async def test_its_holder_may_be_late_where_nobody_came_between(store: Store) -> None:
    await acquire(store, "a", 0)
    lease = await acquire(store, "a", 99)
    assert lease is not None
    assert (lease.token, lease.deadline) == (1, seconds(109))


async def test_somebody_else_takes_it_over_at_the_deadline_with_a_larger_token(store: Store) -> None:
    await acquire(store, "a", 0)
    lease = await acquire(store, "b", 10)
    assert lease is not None
    assert (lease.holder, lease.token) == ("b", 2)
    assert await acquire(store, "a", 11) is None


async def test_a_released_lease_is_free_at_once_and_its_token_still_grows(store: Store) -> None:
    lease = await acquire(store, "a", 0)
    assert lease is not None
    await store.leases.release(lease)
    taken = await acquire(store, "b", 1)
    assert taken is not None
    assert taken.token == 2
    await store.leases.release(taken)
    back = await acquire(store, "a", 2)
    assert back is not None
    assert back.token == 3


async def test_a_release_by_one_who_lost_it_changes_nothing(store: Store) -> None:
    lost = await acquire(store, "a", 0)
    assert lost is not None
    held = await acquire(store, "b", 20)
    await store.leases.release(lost)
    assert await acquire(store, "c", 21) is None
    assert held is not None


@pytest.mark.parametrize("ttl_s", [0.5, 30])
async def test_a_deadline_is_kept_as_it_is(store: Store, ttl_s: float) -> None:
    lease = await acquire(store, "a", 0, ttl_s)
    assert lease is not None
    assert lease.deadline == seconds(ttl_s)
