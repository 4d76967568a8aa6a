"""Packages: kept while a live job names them or their pin lasts."""

import pytest

from raysvc.domain.job import JobPhase
from raysvc.errors import Conflict, NotFound
from raysvc.ports import Store
from tests.contract.store.make import moved, new, package, seconds


async def test_the_first_of_equal_contents_is_kept_and_pinned_anew(store: Store) -> None:
    first = package(pinned_until=10)
    assert await store.packages.add(first) == first
    again = first.model_copy(update={"sha256": "other mtimes", "pinned_until": seconds(20)})
    kept = await store.packages.add(again)
    assert (kept.sha256, kept.pinned_until) == ("s", seconds(20))
    assert await store.packages.get("default", "a.zip") == kept


async def test_other_contents_under_the_same_name_are_a_conflict(store: Store) -> None:
    first = await store.packages.add(package())
    with pytest.raises(Conflict, match="other contents"):
        await store.packages.add(package(digest="d2", pinned_until=50))
    assert await store.packages.get("default", "a.zip") == first
    await store.packages.add(package(project="other", digest="d2"))


async def test_a_package_that_is_not_there_is_not_found(store: Store) -> None:
    await store.packages.add(package(project="other"))
    with pytest.raises(NotFound, match=r"'a\.zip'"):
        await store.packages.get("default", "a.zip")
    with pytest.raises(NotFound):
        await store.packages.pin("default", "a.zip", seconds(1))


async def test_a_pin_only_ever_grows(store: Store) -> None:
    await store.packages.add(package(pinned_until=10))
    assert (await store.packages.pin("default", "a.zip", seconds(30))).pinned_until == seconds(30)
    assert (await store.packages.pin("default", "a.zip", seconds(20))).pinned_until == seconds(30)
    assert (await store.packages.add(package(pinned_until=15))).pinned_until == seconds(30)
    assert (await store.packages.get("default", "a.zip")).pinned_until == seconds(30)


async def test_a_job_may_only_name_packages_that_are_there(store: Store) -> None:
    await store.packages.add(package("a.zip"))
    await store.packages.add(package("b.zip", project="other"))
    job, events = new("a")
    with pytest.raises(NotFound, match=r"'b\.zip'"):
        await store.jobs.add(job, events, packages=["a.zip", "b.zip"])
    with pytest.raises(NotFound):
        await store.jobs.get("default", "a")
    await store.jobs.add(job, events, packages=["a.zip", "a.zip"])


async def test_unreferenced_packages_go_when_their_pin_is_over(store: Store) -> None:
    for name, until in (("c.zip", 30), ("a.zip", 10), ("b.zip", 20), ("named.zip", 0)):
        await store.packages.add(package(name, pinned_until=until))
    job, events = new("a")
    await store.jobs.add(job, events, packages=["named.zip"])
    assert [p.name for p in await store.packages.remove_unreferenced(seconds(20), 1)] == ["a.zip"]
    assert [p.name for p in await store.packages.remove_unreferenced(seconds(20), 9)] == ["b.zip"]
    assert [p.name for p in await store.packages.remove_unreferenced(seconds(20), 9)] == []
    with pytest.raises(NotFound):
        await store.packages.get("default", "a.zip")


async def test_a_package_is_free_when_its_last_live_job_ends(store: Store) -> None:
    await store.packages.add(package())
    jobs = []
    for _ in range(2):
        job, events = new()
        jobs.append(await store.jobs.add(job, events, packages=["a.zip"]))
    await moved(store, jobs[0], JobPhase.SUCCEEDED)
    await moved(store, jobs[1], JobPhase.RUNNING)
    assert await store.packages.remove_unreferenced(seconds(99), 9) == []
    job = await store.jobs.get_by_uid(jobs[1].uid)
    ended, event = job.to(JobPhase.FAILED, job.reason, seconds(5), finished_at=seconds(5))
    await store.jobs.save(ended, [event])
    assert [p.name for p in await store.packages.remove_unreferenced(seconds(99), 9)] == ["a.zip"]


async def test_a_replayed_add_names_nothing(store: Store) -> None:
    await store.packages.add(package())
    await store.jobs.add_once(*new(), key="k", body_digest="d")
    await store.jobs.add_once(*new(), key="k", body_digest="d", packages=["a.zip"])
    assert [p.name for p in await store.packages.remove_unreferenced(seconds(99), 9)] == ["a.zip"]
