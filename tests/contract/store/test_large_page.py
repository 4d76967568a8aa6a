"""A page has a size in bytes too: a thousand jobs with large specs must not fill the memory."""

from raysvc.domain.job import Job
from raysvc.domain.query import PAGE_BYTES, JobQuery
from raysvc.ports import Store
from tests.contract.store.make import added

MIB = 1 << 20


async def pages(store: Store, limit: int) -> list[tuple[Job, ...]]:
    """Return all pages, each with at most that many."""
    found: list[tuple[Job, ...]] = []
    cursor: str | None = None
    while True:
        page = await store.jobs.find(JobQuery(limit=limit, cursor=cursor))
        found.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return found


def size(jobs: tuple[Job, ...]) -> int:
    return sum(len(job.model_dump_json().encode()) for job in jobs)


async def test_a_page_ends_where_its_jobs_become_large(store: Store) -> None:
    # Two bytes a character.
    jobs = [
        await added(store, runtime_env={"config": "é" * (MIB if number in {2, 3} else 3 * MIB // 2)})
        for number in range(7)
    ]
    found = await pages(store, 1000)
    assert [job.id for page in found for job in page] == [job.id for job in reversed(jobs)]
    assert [len(page) for page in found] == [5, 2]
    assert all(size(page) <= PAGE_BYTES for page in found)


async def test_one_that_is_larger_than_a_page_is_a_page(store: Store) -> None:
    for characters in (1, 17 * MIB, 1, 1):
        await added(store, runtime_env={"config": "x" * characters})
    assert [len(page) for page in await pages(store, 1000)] == [2, 1, 1]


async def test_small_jobs_fill_a_page(store: Store) -> None:
    for _ in range(70):
        await added(store, runtime_env={"config": "x" * 100_000})
    assert [len(page) for page in await pages(store, 60)] == [60, 10]
