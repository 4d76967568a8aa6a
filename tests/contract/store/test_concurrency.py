"""Many at once: within one store, and between two on the same database, as during an upgrade."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from raysvc.domain.event import EventKind
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import JobQuery
from raysvc.errors import AlreadyExists, Conflict, KeyReused, NotFound, StaleVersion
from raysvc.ports import Store
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock
from tests.contract.store.make import added, moved, new, package, saved, seconds

T = TypeVar("T")


async def outcomes(calls: Sequence[Awaitable[T]]) -> tuple[list[T], Counter[type]]:
    """Return what succeeded, and how often each error was raised."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    return [result for result in results if not isinstance(result, BaseException)], Counter(map(type, errors))


async def test_of_a_hundred_adds_of_one_id_one_wins(store: Store) -> None:
    won, errors = await outcomes([store.jobs.add(*new("a")) for _ in range(100)])
    assert (len(won), errors) == (1, {AlreadyExists: 99})
    assert await store.jobs.get("default", "a") == won[0]
    assert (await store.jobs.find(JobQuery())).items == (won[0],)


async def test_of_a_hundred_adds_of_one_key_all_get_the_one_job(store: Store) -> None:
    kept, errors = await outcomes([store.jobs.add_once(*new(), key="k", body_digest="d") for _ in range(100)])
    assert not errors
    assert [is_new for _, is_new in kept].count(True) == 1
    assert len({job.uid for job, _ in kept}) == 1
    assert (await store.jobs.find(JobQuery())).items == (kept[0][0],)


async def test_of_different_bodies_under_one_key_one_wins(store: Store) -> None:
    kept, errors = await outcomes([store.jobs.add_once(*new(), key="k", body_digest=f"{n}") for n in range(20)])
    assert (len(kept), errors) == (1, {KeyReused: 19})


async def test_keys_and_ids_that_collide_crosswise_end_as_if_one_came_after_the_other(store: Store) -> None:
    """The key that first wanted a taken id is free for the next one that asks under it."""
    calls: list[Awaitable[Any]] = [store.jobs.add(*new("a"))]
    calls += [store.jobs.add_once(*new(name), key="k", body_digest=name) for name in ("a", "b", "b", "a")]
    won, errors = await outcomes(calls)
    by_key = [result for result in won if isinstance(result, tuple)]
    assert [job.id for job, _ in by_key] == ["b", "b"]
    assert [is_new for _, is_new in by_key] == [True, False]
    assert errors.total() == 2
    assert set(errors) <= {AlreadyExists, KeyReused}
    assert sorted(job.id for job in (await store.jobs.find(JobQuery())).items) == ["a", "b"]


async def test_a_refused_operation_fails_none_of_those_beside_it(store: Store) -> None:
    """One batch with every kind of refusal in it, and as many that must pass."""
    taken, stale = await added(store, "taken"), await added(store, "stale")
    fresh = await saved(store, stale)
    await store.packages.add(package())
    good = [store.jobs.add(*new(f"good-{n}", labels={"n": str(n)}), packages=["a.zip"]) for n in range(20)]
    bad: list[Awaitable[Any]] = [
        store.jobs.add(*new(taken.id)),
        store.jobs.add(*new("lost"), packages=["no.zip"]),
        saved(store, stale),
        saved(store, new()[0]),
        store.packages.add(package(digest="other")),
        store.packages.pin("default", "no.zip", seconds(1)),
        store.secrets.delete("default", "NONE"),
        store.tokens.revoke("none", seconds(1)),
    ]
    also = [saved(store, fresh, cluster="c"), store.flags.put("f", "v"), moved(store, taken, JobPhase.RUNNING)]
    won, errors = await outcomes([*good[:10], *bad, *also, *good[10:]])
    assert errors == {AlreadyExists: 1, NotFound: 5, StaleVersion: 1, Conflict: 1}
    assert len(won) == 23
    assert {job.id for job in (await store.jobs.find(JobQuery())).items} == {
        "taken",
        "stale",
        *(f"good-{n}" for n in range(20)),
    }
    assert await store.flags.get("f") == "v"


async def test_ids_that_collide_in_one_batch_do_not_cost_a_commit_each(tmp_path: Path) -> None:
    """Or one client that repeats itself would slow down all others."""
    store = SqlStore(f"sqlite:///{tmp_path}/raysvc.db", FakeClock())
    await store.open()
    commits: list[Connection] = []

    def commit(connection: Connection) -> None:
        commits.append(connection)

    sa.event.listen(Engine, "commit", commit)
    try:
        await outcomes([store.jobs.add(*new("a")) for _ in range(100)])
        await outcomes([store.jobs.add_once(*new(), key="k", body_digest="d") for _ in range(100)])
        job = await added(store, "b")
        await outcomes([saved(store, job, cluster=f"c{n}") for n in range(100)])
    finally:
        sa.event.remove(Engine, "commit", commit)
    assert len(commits) <= 8
    await store.close()


async def test_of_many_saves_of_one_version_one_wins(store: Store) -> None:
    job = await added(store)
    won, errors = await outcomes([saved(store, job, cluster=f"c{n}") for n in range(50)])
    assert (len(won), errors) == (1, {StaleVersion: 49})
    assert await store.jobs.get_by_uid(job.uid) == won[0]
    assert len(await store.jobs.events(job.uid)) == 2


async def test_increments_by_compare_and_set_lose_none(store: Store) -> None:
    job = await added(store)

    async def increment() -> None:
        while True:
            current = await store.jobs.get_by_uid(job.uid)
            try:
                await saved(store, current, infrastructure_retries=current.infrastructure_retries + 1)
            except StaleVersion:
                continue
            return

    await asyncio.gather(*(increment() for _ in range(12)))
    done = await store.jobs.get_by_uid(job.uid)
    assert (done.infrastructure_retries, done.version) == (12, 13)
    assert [event.seq for event in await store.jobs.events(job.uid)] == list(range(1, 14))


async def test_saves_of_one_job_in_one_batch_follow_one_another(store: Store) -> None:
    """Begun in order and not awaited between: the second is not stale where the first passes."""
    job = await added(store, labels={"a": "1"})
    spec = job.spec.model_copy(update={"labels": {"a": "2"}})
    one, first = job.change(EventKind.AMENDED, seconds(90), actor="t", spec=spec)
    two, second = one.change(EventKind.REASON, seconds(91), actor="t", cluster="c")
    won, errors = await outcomes([store.jobs.save(one, [first]), store.jobs.save(two, [second])])
    assert (len(won), dict(errors)) == (2, {})
    assert await store.jobs.get_by_uid(job.uid) == two
    assert (await store.jobs.find(JobQuery(label=("a", "2")))).items == (two,)


async def test_a_read_sees_what_an_awaited_write_wrote(store: Store) -> None:
    async def write_and_read(number: int) -> None:
        job = await added(store, f"job-{number}", labels={"n": str(number)})
        assert await store.jobs.get("default", job.id) == job
        job = await moved(store, job, JobPhase.RUNNING)
        assert await store.jobs.get_by_uid(job.uid) == job
        assert job.uid in {row.uid for row in await store.jobs.placed()}
        assert (await store.jobs.find(JobQuery(label=("n", str(number))))).items == (job,)

    await asyncio.gather(*(write_and_read(number) for number in range(20)))


async def test_a_caller_that_is_cancelled_disturbs_nobody(store: Store) -> None:
    doomed = [asyncio.create_task(store.jobs.add(*new(f"doomed-{n}"))) for n in range(5)]
    others = [asyncio.create_task(store.jobs.add(*new(f"other-{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    for task in doomed:
        task.cancel()
    assert {job.id for job in await asyncio.gather(*others)} == {f"other-{n}" for n in range(5)}
    await asyncio.gather(*doomed, return_exceptions=True)
    await added(store, "after")


async def test_a_lease_is_taken_by_one_of_many(store: Store) -> None:
    leases = await asyncio.gather(*(store.leases.acquire("l", f"h{n}", now=seconds(0), ttl_s=9) for n in range(30)))
    assert sum(lease is not None for lease in leases) == 1


@pytest.fixture
async def two(url: str) -> AsyncIterator[tuple[Store, Store]]:
    stores = SqlStore(url, FakeClock()), SqlStore(url, FakeClock())
    for each in stores:
        await each.open()
    yield stores
    for each in stores:
        await each.close()


async def test_two_servers_on_one_database_accept_an_id_once(two: tuple[Store, Store]) -> None:
    ids = [f"job-{n}" for n in range(40)]
    calls = [store.jobs.add(*new(id_)) for id_ in ids for store in two]
    won, errors = await outcomes([*calls[::2], *reversed(calls[1::2])])
    assert (len(won), errors) == (40, {AlreadyExists: 40})
    assert {job.uid for job in (await two[0].jobs.find(JobQuery())).items} == {job.uid for job in won}


async def test_two_servers_on_one_database_give_a_key_one_job(two: tuple[Store, Store]) -> None:
    calls = [store.jobs.add_once(*new(), key=f"k{n}", body_digest="d") for n in range(30) for store in two]
    kept, errors = await outcomes([*calls[::2], *reversed(calls[1::2])])
    assert not errors
    assert len({job.uid for job, _ in kept}) == 30


async def test_two_servers_on_one_database_never_both_save_a_version(two: tuple[Store, Store]) -> None:
    jobs = [await added(two[0]) for _ in range(30)]
    calls = [saved(store, job, cluster="c") for job in jobs for store in two]
    won, errors = await outcomes([*calls[::2], *reversed(calls[1::2])])
    assert (len(won), errors) == (30, {StaleVersion: 30})
    for job in jobs:
        assert len(await two[1].jobs.events(job.uid)) == 2


async def test_two_servers_on_one_database_share_a_lease(two: tuple[Store, Store]) -> None:
    for turn in range(10):
        pair = await asyncio.gather(
            *(store.leases.acquire("l", f"h{n}", now=seconds(turn * 10), ttl_s=9) for n, store in enumerate(two))
        )
        [lease] = [lease for lease in pair if lease is not None]
        await two[turn % 2].leases.release(lease)


async def test_a_package_is_never_removed_while_another_server_adds_a_job_that_names_it(
    two: tuple[Store, Store],
) -> None:
    for turn in range(15):
        name = f"{turn}.zip"
        await two[0].packages.add(package(name))
        job, events = new()
        results = await asyncio.gather(
            two[0].jobs.add(job, events, packages=[name]),
            two[1].packages.remove_unreferenced(seconds(1), 9),
            return_exceptions=True,
        )
        added_, removed = results
        if isinstance(added_, Job):
            assert removed == []
            assert (await two[1].packages.get("default", name)).name == name
            await moved(two[0], job, JobPhase.FAILED)
            assert [p.name for p in await two[1].packages.remove_unreferenced(seconds(1), 9)] == [name]
        else:
            assert isinstance(added_, NotFound)
            assert [p.name for p in removed] == [name]  # type: ignore[union-attr]


async def test_what_one_server_writes_the_other_reads(two: tuple[Store, Store]) -> None:
    job = await added(two[0], "a")
    assert await two[1].jobs.get("default", "a") == job
    job = await moved(two[1], job, JobPhase.RUNNING)
    assert await two[0].jobs.get("default", "a") == job
