"""Idempotency keys: the same key gives the same job."""

import pytest

from raysvc.domain.event import EventKind
from raysvc.domain.job import JobPhase
from raysvc.errors import AlreadyExists, KeyReused, NotFound
from raysvc.ports import Store
from tests.contract.store.make import added, moved, new, saved, seconds


async def test_the_same_key_gives_the_same_job(store: Store) -> None:
    job, events = new("a")
    assert await store.jobs.add_once(job, events, key="k", body_digest="d") == (job, True)
    again, events = new("b")
    assert await store.jobs.add_once(again, events, key="k", body_digest="d") == (job, False)
    with pytest.raises(NotFound):
        await store.jobs.get("default", "b")


async def test_a_replay_gives_the_job_as_it_is_now(store: Store) -> None:
    job, events = new("a")
    await store.jobs.add_once(job, events, key="k", body_digest="d")
    now = await saved(store, await moved(store, job, JobPhase.FAILED), EventKind.DELETED, deleted=True)
    assert await store.jobs.add_once(*new("a"), key="k", body_digest="d") == (now, False)


async def test_a_key_with_another_body_is_refused(store: Store) -> None:
    job, events = new("a")
    await store.jobs.add_once(job, events, key="k", body_digest="d")
    with pytest.raises(KeyReused, match="'k'"):
        await store.jobs.add_once(*new("b"), key="k", body_digest="other")


async def test_a_key_belongs_to_its_project(store: Store) -> None:
    one, events = new("a", project="one")
    await store.jobs.add_once(one, events, key="k", body_digest="d")
    two, events = new("a", project="two")
    assert await store.jobs.add_once(two, events, key="k", body_digest="other") == (two, True)


async def test_a_refused_add_does_not_use_up_its_key(store: Store) -> None:
    await added(store, "taken")
    with pytest.raises(AlreadyExists):
        await store.jobs.add_once(*new("taken"), key="k", body_digest="d")
    with pytest.raises(NotFound):
        await store.jobs.add_once(*new("b"), key="k", body_digest="d", packages=["no.zip"])
    job, events = new("free")
    assert await store.jobs.add_once(job, events, key="k", body_digest="e") == (job, True)


async def test_a_key_goes_with_its_job(store: Store) -> None:
    job, events = new("a")
    await store.jobs.add_once(job, events, key="k", body_digest="d")
    job = await moved(store, job, JobPhase.FAILED, finished_at=seconds(1))
    await saved(store, job, EventKind.FINALISED, finalised=True)
    await store.jobs.prune(finished_before=seconds(2), limit=1)
    job, events = new("a")
    assert await store.jobs.add_once(job, events, key="k", body_digest="other") == (job, True)
