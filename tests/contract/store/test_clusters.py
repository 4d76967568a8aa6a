"""Clusters and the jobs that share them, in every store."""

from datetime import timedelta
from typing import Any

import pytest

from raysvc.domain.cluster import NewCluster, SharedCluster, create
from raysvc.domain.event import EventKind, fold
from raysvc.domain.job import JobPhase
from raysvc.errors import AlreadyExists, NotFound, StaleVersion
from raysvc.ports import Store
from tests.contract.store.make import START, added, saved, seconds

HOUR = timedelta(hours=1)


async def cluster(store: Store, name: str, number: int, project: str = "default") -> SharedCluster:
    made, event = create(NewCluster(name=name), uid=f"{number:016d}", project=project, owner="ada", now=START)
    await store.clusters.add(made, [event])
    return made


async def changed(store: Store, record: SharedCluster, **fields: Any) -> SharedCluster:
    after, event = record.change(EventKind.REASON, START + HOUR, actor="raysvc", **fields)
    await store.clusters.save(after, [event])
    return after


async def test_a_cluster_is_kept_with_its_events(store: Store) -> None:
    made = await cluster(store, "lab", 1)
    after = await changed(store, made, applied=1)
    assert await store.clusters.get("default", "lab") == after
    assert await store.clusters.get_by_uid(made.uid) == after
    assert SharedCluster.model_validate(fold(await store.clusters.events(made.uid))) == after


async def test_its_name_is_its_projects_own_and_free_once_it_is_gone(store: Store) -> None:
    first = await cluster(store, "lab", 1)
    await cluster(store, "lab", 2, "other")
    with pytest.raises(AlreadyExists):
        await cluster(store, "lab", 3)
    await changed(store, first, deleted=True, finished_at=START)
    assert (await cluster(store, "lab", 4)).uid in {record.uid for record in await store.clusters.live()}
    assert [record.uid for record in await store.clusters.live()] == [f"{2:016d}", f"{4:016d}"]
    assert await store.clusters.prune(finished_before=START + HOUR, limit=9) == [as_deleted(first)]
    with pytest.raises(NotFound):
        await store.clusters.get_by_uid(first.uid)


def as_deleted(record: SharedCluster) -> SharedCluster:
    """Return what `changed` made of a deleted one."""
    fields: dict[str, Any] = {"deleted": True, "finished_at": START}
    return record.change(EventKind.REASON, START + HOUR, actor="raysvc", **fields)[0]


async def test_who_saves_second_is_told(store: Store) -> None:
    made = await cluster(store, "lab", 1)
    await changed(store, made, applied=1)
    with pytest.raises(StaleVersion):
        await changed(store, made, applied=1)


async def test_jobs_that_name_a_cluster_are_told_of_while_they_live(store: Store) -> None:
    await added(store)
    first = await added(store, cluster="lab")
    second = await added(store, cluster="lab", project="other")
    assert [tuple(row) for row in await store.jobs.sharing()] == sorted(
        [(first.uid, "default", "lab"), (second.uid, "other", "lab")]
    )
    running = await saved(store, first, phase=JobPhase.RUNNING)
    assert len(await store.jobs.sharing()) == 2
    await saved(store, running, phase=JobPhase.SUCCEEDED)
    assert [row.uid for row in await store.jobs.sharing()] == [second.uid]


async def test_one_that_waits_for_a_cluster_hides_none_that_does_not(store: Store) -> None:
    held = [await added(store, cluster="lab", priority=5) for _ in range(3)]
    free = await added(store, at=seconds(99))
    first = [row.uid for row in await store.jobs.waiting(1)]
    assert sorted(first) == sorted([held[0].uid, free.uid])
    assert await store.jobs.count_queued("default") == 4
