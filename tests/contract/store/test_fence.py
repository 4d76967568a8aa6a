"""A leader that was held up, and whose lease another has taken since, changes nothing."""

import pytest

from raysvc.domain.event import EventKind
from raysvc.domain.job import Job
from raysvc.errors import StaleVersion
from raysvc.ports import Lease, Store
from tests.contract.store.make import added, seconds


async def lease(store: Store, holder: str, at: float) -> Lease:
    taken = await store.leases.acquire("reconciler", holder, now=seconds(at), ttl_s=1)
    assert taken is not None
    return taken


async def save(store: Store, job: Job, fence: Lease) -> Job:
    changed, event = job.change(EventKind.REASON, seconds(100), actor=fence.holder, user_retries=job.version)
    await store.jobs.save(changed, [event], fence=fence)
    return changed


async def test_what_is_saved_under_a_lease_that_is_held_is_kept_and_renewing_it_changes_nothing(store: Store) -> None:
    job = await added(store)
    first = await lease(store, "a", 0)
    job = await save(store, job, first)
    await lease(store, "a", 1)
    job = await save(store, job, first)
    assert await store.jobs.get_by_uid(job.uid) == job


async def test_under_a_lease_that_was_taken_by_another_or_let_go_nothing_is_kept(store: Store) -> None:
    job = await added(store)
    late = await lease(store, "a", 0)
    held = await lease(store, "b", 5)
    with pytest.raises(StaleVersion, match="taken by another"):
        await save(store, job, late)
    assert await store.jobs.get_by_uid(job.uid) == job
    job = await save(store, job, held)
    await store.leases.release(held)
    with pytest.raises(StaleVersion):
        await save(store, job, held)
    with pytest.raises(StaleVersion):
        await save(store, job, held.model_copy(update={"name": "never taken"}))


async def test_a_lease_is_told_as_it_was_last_taken(store: Store) -> None:
    assert await store.leases.get("reconciler") is None
    await lease(store, "a", 0)
    held = await lease(store, "b", 5)
    assert await store.leases.get("reconciler") == held
    await store.leases.release(held)
    kept = await store.leases.get("reconciler")
    assert kept is not None
    assert (kept.holder, kept.token) == ("", held.token)
