"""Jobs: kept, found by their names, changed by compare-and-set, pruned."""

from datetime import timedelta

import pytest

from raysvc.domain.event import EventKind, fold
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import JobQuery
from raysvc.errors import AlreadyExists, NotFound, StaleVersion
from raysvc.ports import Store
from tests.contract.store.make import FULL, added, moved, new, saved, seconds


async def test_a_job_comes_back_as_it_was_added(store: Store) -> None:
    job, events = new("full", **FULL)
    assert await store.jobs.add(job, events) == job
    assert await store.jobs.get("default", "full") == job
    assert await store.jobs.get_by_uid(job.uid) == job
    assert list(await store.jobs.events(job.uid)) == events


async def test_a_job_that_is_not_there_is_not_found(store: Store) -> None:
    await added(store, "a", project="one")
    with pytest.raises(NotFound, match="'a'"):
        await store.jobs.get("two", "a")
    with pytest.raises(NotFound):
        await store.jobs.get_by_uid("0" * 16)
    assert list(await store.jobs.events("0" * 16)) == []


async def test_an_id_is_taken_once_in_a_project(store: Store) -> None:
    first = await added(store, "a", project="one")
    with pytest.raises(AlreadyExists, match="'a'"):
        await added(store, "a", project="one")
    assert await store.jobs.get("one", "a") == first
    other = await added(store, "a", project="two")
    assert await store.jobs.get("two", "a") == other


async def test_a_uid_is_taken_once(store: Store) -> None:
    job, events = new("a")
    await store.jobs.add(job, events)
    with pytest.raises(AlreadyExists):
        await store.jobs.add(job.model_copy(update={"id": "b"}), events)
    with pytest.raises(NotFound):
        await store.jobs.get("default", "b")
    assert len(await store.jobs.events(job.uid)) == 1


async def test_an_id_is_free_again_after_a_delete_and_the_deleted_stays_under_its_uid(store: Store) -> None:
    old = await moved(store, await added(store, "a"), JobPhase.FAILED)
    old = await saved(store, old, EventKind.DELETED, deleted=True)
    with pytest.raises(NotFound):
        await store.jobs.get("default", "a")
    assert await store.jobs.get_by_uid(old.uid) == old
    assert (await store.jobs.events(old.uid))[-1].kind is EventKind.DELETED
    young = await added(store, "a")
    assert await store.jobs.get("default", "a") == young
    assert (await store.jobs.find(JobQuery())).items == (young,)


async def test_save_changes_the_record_and_appends_its_events(store: Store) -> None:
    job = await added(store, "a")
    changed, event = job.change(EventKind.REASON, seconds(99), actor="t", cluster="c")
    await store.jobs.save(changed, [event])
    assert await store.jobs.get("default", "a") == changed
    assert [e.seq for e in await store.jobs.events(job.uid)] == [1, 2]


async def test_save_takes_several_events_at_once(store: Store) -> None:
    job = await added(store, "a")
    one, first = job.change(EventKind.STOP_REQUESTED, seconds(99), actor="t", stop_requested=True)
    two, second = one.change(EventKind.REASON, seconds(99), actor="t", cluster="c")
    await store.jobs.save(two, [first, second])
    assert await store.jobs.get_by_uid(job.uid) == two
    with pytest.raises(StaleVersion):
        await store.jobs.save(one, [first])


async def test_a_stale_save_changes_nothing(store: Store) -> None:
    job = await added(store, "a")
    current = await saved(store, job, cluster="first")
    with pytest.raises(StaleVersion, match="version 2"):
        await saved(store, job, cluster="second")
    assert await store.jobs.get_by_uid(job.uid) == current
    assert len(await store.jobs.events(job.uid)) == 2


async def test_saving_a_job_that_is_gone_is_not_found(store: Store) -> None:
    job, _ = new("a")
    with pytest.raises(NotFound, match=job.uid):
        await saved(store, job)


async def test_a_spec_that_is_amended_is_found_by_its_new_words(store: Store) -> None:
    job = await added(store, "a", labels={"team": "a", "old": "x"}, queue="slow")
    spec = job.spec.model_copy(update={"labels": {"team": "b"}, "queue": "fast", "name": "renamed", "priority": 5})
    job = await saved(store, job, EventKind.AMENDED, spec=spec)
    assert (await store.jobs.find(JobQuery(label=("team", "b")))).items == (job,)
    assert (await store.jobs.find(JobQuery(label=("team", "a")))).items == ()
    assert (await store.jobs.find(JobQuery(label=("old", "x")))).items == ()
    assert (await store.jobs.find(JobQuery(name_prefix="ren"))).items == (job,)
    [row] = await store.jobs.waiting(1)
    assert (row.queue, row.priority) == ("fast", 5)


async def test_every_record_is_the_fold_of_its_events(store: Store) -> None:
    jobs = [await moved(store, await added(store, labels={"a": "b"}), phase) for phase in JobPhase]
    jobs.append(await saved(store, await saved(store, jobs[-1], EventKind.FINALISED, finalised=True), deleted=True))
    for job in jobs:
        kept = await store.jobs.get_by_uid(job.uid)
        assert Job.model_validate(fold(await store.jobs.events(job.uid))) == kept


async def test_events_come_in_pages(store: Store) -> None:
    job = await added(store)
    for _ in range(6):
        job = await saved(store, job)
    assert [e.seq for e in await store.jobs.events(job.uid, after=2, limit=3)] == [3, 4, 5]
    assert [e.seq for e in await store.jobs.events(job.uid, after=6)] == [7]
    assert [e.seq for e in await store.jobs.events(job.uid, after=7)] == []


async def test_prune_removes_what_ended_long_ago_and_is_finalised_oldest_first(store: Store) -> None:
    ended = {}
    for name, at in (("oldest", 10), ("old", 20), ("edge", 30), ("young", 40)):
        job = await moved(
            store, await added(store, name, labels={"k": "v"}), JobPhase.SUCCEEDED, finished_at=seconds(at)
        )
        ended[name] = await saved(store, job, EventKind.FINALISED, finalised=True)
    await moved(store, await added(store, "not finalised"[:3]), JobPhase.FAILED, finished_at=seconds(1))
    await added(store, "live")
    deleted = await moved(store, await added(store, "gone"), JobPhase.FAILED, finished_at=seconds(15))
    deleted = await saved(store, deleted, EventKind.DELETED, deleted=True, finalised=True)

    assert list(await store.jobs.prune(finished_before=seconds(30), limit=1)) == [ended["oldest"]]
    assert list(await store.jobs.prune(finished_before=seconds(30), limit=10)) == [deleted, ended["old"]]
    assert list(await store.jobs.prune(finished_before=seconds(30), limit=10)) == []
    assert {job.id for job in (await store.jobs.find(JobQuery())).items} == {"edge", "young", "not", "live"}
    assert {job.id for job in (await store.jobs.find(JobQuery(label=("k", "v")))).items} == {"edge", "young"}
    for job in (ended["oldest"], ended["old"], deleted):
        with pytest.raises(NotFound):
            await store.jobs.get_by_uid(job.uid)
        assert list(await store.jobs.events(job.uid)) == []
    with pytest.raises(NotFound):
        await store.jobs.get("default", "old")
    assert await added(store, "old") == await store.jobs.get("default", "old")


async def test_pruning_a_deleted_job_leaves_the_next_job_of_its_id(store: Store) -> None:
    old = await moved(store, await added(store, "a"), JobPhase.FAILED, finished_at=seconds(1))
    await saved(store, old, EventKind.DELETED, deleted=True, finalised=True)
    young = await added(store, "a")
    assert [job.uid for job in await store.jobs.prune(finished_before=seconds(2), limit=10)] == [old.uid]
    assert await store.jobs.get("default", "a") == young


async def test_times_are_exact_to_the_microsecond(store: Store) -> None:
    at = seconds(1) + timedelta(microseconds=123_457)
    job = await added(store, "a", at=at)
    page = await store.jobs.find(JobQuery(created_after=at, created_before=at + timedelta(microseconds=1)))
    assert page.items == (job,)
    assert (await store.jobs.find(JobQuery(created_after=at + timedelta(microseconds=1)))).items == ()
    [row] = await store.jobs.waiting(1)
    assert row.created_at == at
