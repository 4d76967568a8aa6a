"""Jobs as the loop reads them: those that are due, that wait, and how many."""

from raysvc.domain.event import EventKind
from raysvc.domain.job import JobPhase
from raysvc.domain.query import JobQuery
from raysvc.ports import Store
from tests.contract.store.make import FULL, added, moved, new, saved, seconds


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
    # The queue adds what is not in the row.
    assert row.model_dump(exclude={"ask", "cluster"}) == {
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


async def test_queued_jobs_are_counted_only_as_far_as_asked(store: Store) -> None:
    for project in ("a", "a", "a", "b"):
        await added(store, project=project)
    counts = [await store.jobs.count_queued("a", most) for most in (0, 1, 2, 3, 4, None)]
    assert counts == [0, 1, 2, 3, 3, 3]
