"""Jobs: kept, found by their names, changed by compare-and-set, pruned."""

from datetime import timedelta
from typing import Any

import pytest

from raysvc.domain.event import EventKind, fold
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import JobQuery
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.errors import AlreadyExists, NotFound, StaleVersion
from raysvc.ports import Store
from tests.contract.store.make import added, moved, new, saved, seconds

FULL: dict[str, Any] = {
    "name": "train ✓",
    "runtime_env": {"env_vars": {"TEXT": "a\tb 'quoted' \\ ✓"}, "pip": ["torch"], "n": 1.5, "none": None},
    "metadata": {"k": "v"},
    "resources": Resources(cpus=0.5, gpus=1, memory=1 << 34, custom={"TPU": 2}),
    "shape": Shape(workers=(WorkerGroup(scale=Scale(want=2, max=4), resources=Resources(cpus=3)),)),
    "labels": {"team": "vision", "tier": ""},
    "priority": 7,
    "queue": "nightly",
    "timeout_s": 12.5,
}


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


async def test_due_jobs_come_longest_overdue_first(store: Store) -> None:
    times = {"late": 100, "now": 300, "later": 200, "not yet": 300.000001}
    for name, at in times.items():
        await saved(store, await added(store, name=name), due_at=seconds(at))
    await added(store, name="never")
    rows = await store.jobs.due(seconds(300))
    assert [(row.due_at, row.version, row.phase) for row in rows] == [
        (seconds(at), 2, JobPhase.QUEUED) for at in (100, 200, 300)
    ]
    assert [job.name for job in await store.jobs.get_many([row.uid for row in rows])] == ["late", "later", "now"]


async def test_many_jobs_come_in_the_order_asked_for_and_those_that_are_gone_are_left_out(store: Store) -> None:
    jobs = [await added(store) for _ in range(3)]
    uids = [jobs[2].uid, "0" * 16, jobs[0].uid, jobs[2].uid]
    assert await store.jobs.get_many(uids) == [jobs[2], jobs[0], jobs[2]]
    assert await store.jobs.get_many([]) == []


async def test_a_job_is_due_until_it_is_looked_at(store: Store) -> None:
    job = await saved(store, await added(store), due_at=seconds(1))
    assert [row.uid for row in await store.jobs.due(seconds(2))] == [job.uid]
    await saved(store, job, due_at=None)
    assert await store.jobs.due(seconds(2)) == []


async def test_a_job_may_be_due_from_birth(store: Store) -> None:
    job, _ = new("a")
    job, event = job.model_copy(update={"version": 0, "head": ""}).change(
        EventKind.SUBMITTED, job.created_at, actor="t", due_at=seconds(5)
    )
    await store.jobs.add(job, [event])
    assert [row.uid for row in await store.jobs.due(seconds(5))] == [job.uid]


async def test_waiting_gives_the_first_of_each_queue_by_priority_then_age(store: Store) -> None:
    for project, queue, name, priority, at in (
        ("a", "x", "third", 0, 1),
        ("a", "x", "fourth", 0, 2),
        ("a", "x", "fifth", -1000, 0),
        ("a", "x", "first", 1000, 9),
        ("a", "x", "second", 1, 9),
        ("a", "y", "other queue", 0, 5),
        ("b", "x", "other project", 0, 5),
        ("b-1", "x", "a project like another", 0, 5),
    ):
        await added(store, project=project, queue=queue, name=name, priority=priority, at=seconds(at))
    names = {job.uid: job.name for job in (await store.jobs.find(JobQuery())).items}

    async def waiting(per_queue: int) -> dict[tuple[str, str], list[str]]:
        lanes: dict[tuple[str, str], list[str]] = {}
        for row in await store.jobs.waiting(per_queue):
            lanes.setdefault((row.project, row.queue), []).append(names[row.uid])
        return lanes

    others = {("a", "y"): ["other queue"], ("b", "x"): ["other project"], ("b-1", "x"): ["a project like another"]}
    assert await waiting(1) == {("a", "x"): ["first"], **others}
    assert await waiting(3) == {("a", "x"): ["first", "second", "third"], **others}
    assert await waiting(100) == {("a", "x"): ["first", "second", "third", "fourth", "fifth"], **others}
    assert await waiting(0) == {}


async def test_waiting_gives_no_more_than_asked_for_of_jobs_of_one_instant(store: Store) -> None:
    jobs = [await added(store, at=seconds(1)) for _ in range(5)]
    assert [row.uid for row in await store.jobs.waiting(2)] == sorted(job.uid for job in jobs)[:2]


async def test_a_waiting_row_has_all_that_a_decision_needs(store: Store) -> None:
    job = await saved(store, await added(store, **FULL), not_before=seconds(50))
    [row] = await store.jobs.waiting(1)
    assert row.model_dump() == {
        "uid": job.uid,
        "project": "default",
        "queue": "nightly",
        "priority": 7,
        "created_at": job.created_at,
        "not_before": seconds(50),
        "demand": {"cpus": 6.5, "gpus": 1, "memory": 1 << 34, "custom": {"TPU": 2}},
    }


async def test_only_queued_jobs_wait_and_only_those_on_a_cluster_are_placed(store: Store) -> None:
    jobs = {phase: await moved(store, await added(store, **FULL), phase) for phase in JobPhase}
    assert [row.uid for row in await store.jobs.waiting(100)] == [jobs[JobPhase.QUEUED].uid]
    on_cluster = [jobs[phase] for phase in (JobPhase.STARTING, JobPhase.RUNNING, JobPhase.STOPPING)]
    rows = await store.jobs.placed()
    assert {(row.uid, row.phase) for row in rows} == {(job.uid, job.phase) for job in on_cluster}
    assert all(row.demand == job.spec.demand() for row, job in zip(rows, on_cluster, strict=True))


async def test_a_deleted_job_neither_waits_nor_is_placed(store: Store) -> None:
    for phase in (JobPhase.QUEUED, JobPhase.RUNNING):
        await saved(store, await moved(store, await added(store), phase), EventKind.DELETED, deleted=True)
    assert await store.jobs.waiting(1) == []
    assert await store.jobs.placed() == []
    assert await store.jobs.count_queued("default") == 0


async def test_a_retry_waits_again_in_its_old_place(store: Store) -> None:
    first = await moved(store, await added(store), JobPhase.RUNNING)
    second = await added(store)
    again, event = first.to(JobPhase.QUEUED, first.reason, seconds(9999), not_before=seconds(10_000))
    await store.jobs.save(again, [event])
    assert [row.uid for row in await store.jobs.waiting(2)] == [first.uid, second.uid]
    assert await store.jobs.placed() == []


async def test_queued_jobs_are_counted_by_project(store: Store) -> None:
    for project in ("a", "a", "b", "a-1"):
        await added(store, project=project, queue="x" if project == "b" else "y")
    await moved(store, await added(store, project="a"), JobPhase.RUNNING)
    assert [await store.jobs.count_queued(project) for project in ("a", "b", "a-1", "none")] == [2, 1, 1, 0]


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


async def test_queued_jobs_are_counted_only_as_far_as_asked(store: Store) -> None:
    for project in ("a", "a", "a", "b"):
        await added(store, project=project)
    counts = [await store.jobs.count_queued("a", most) for most in (0, 1, 2, 3, 4, None)]
    assert counts == [0, 1, 2, 3, 3, 3]
