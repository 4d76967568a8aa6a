"""A project's `max_queued_jobs` holds, however many come at once."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from raysvc.domain.job import JobPhase
from raysvc.domain.project import Project
from raysvc.errors import OverLimit
from raysvc.ports import Addition, Store
from tests.contract.store.make import START, added, moved, new


def limited(most: int | None, project: str = "default", key: str | None = None) -> Addition:
    return Addition(*new(project=project), key=key, body_digest="d", most_queued=most)


def kinds(outcomes: object) -> list[str]:
    assert isinstance(outcomes, list)
    return ["kept" if isinstance(outcome, tuple) else type(outcome).__name__ for outcome in outcomes]


async def test_many_at_once_do_not_get_past_it(store: Store) -> None:
    await added(store)
    outcomes = list(await store.jobs.add_each([limited(3) for _ in range(5)]))
    assert kinds(outcomes) == ["kept", "kept", "OverLimit", "OverLimit", "OverLimit"]
    assert await store.jobs.count_queued("default") == 3
    assert isinstance(outcomes[4], OverLimit)
    assert (outcomes[4].rule, "3 jobs queued" in outcomes[4].message) == ("max_queued_jobs", True)


async def test_it_counts_what_waits_in_its_own_project(store: Store) -> None:
    await moved(store, await added(store), JobPhase.RUNNING)
    await added(store, project="other")
    outcomes = await store.jobs.add_each([limited(1), limited(1, "other"), limited(2, "other"), limited(None, "other")])
    assert kinds(list(outcomes)) == ["kept", "OverLimit", "kept", "kept"]


async def test_none_may_wait(store: Store) -> None:
    assert kinds(list(await store.jobs.add_each([limited(0)]))) == ["OverLimit"]


async def test_a_repeated_key_gives_its_job_where_the_queue_is_full(store: Store) -> None:
    first, again, other = limited(1, key="k"), limited(1, key="k"), limited(1, key="l")
    outcomes = list(await store.jobs.add_each([first, again, other]))
    assert outcomes[:2] == [(first.job, True), (first.job, False)]
    assert isinstance(outcomes[2], OverLimit)
    # One that is refused does not use up its key.
    await moved(store, first.job, JobPhase.STARTING)
    assert await store.jobs.add_each([other]) == [(other.job, True)]


@pytest.mark.parametrize("opener", ["sqlite", "postgres"], indirect=True)
async def test_two_servers_do_not_get_past_it_together(opener: Callable[[], Store]) -> None:
    stores = [opener(), opener()]
    for store in stores:
        await store.open()
    try:
        await stores[0].projects.put(Project(name="default", created_at=START))
        adding = [store.jobs.add_each([limited(25)]) for _ in range(20) for store in stores]
        told = Counter(kinds([outcome for outcomes in await asyncio.gather(*adding) for outcome in outcomes]))
        assert told == {"kept": 25, "OverLimit": 15}
    finally:
        for store in stores:
            await store.close()
