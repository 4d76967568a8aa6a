"""Lists: newest first, page by page, by every filter and by all of them together."""

import random
from datetime import datetime
from typing import Any

import pytest

from raysvc.domain.event import EventKind
from raysvc.domain.job import JobPhase
from raysvc.domain.query import JobQuery
from raysvc.errors import Invalid
from raysvc.ports import Store
from raysvc.store import SqlStore
from tests.contract.store.make import added, moved, saved, seconds

P = JobPhase


async def names(store: Store, **query: Any) -> list[str]:
    return [job.name for job in (await store.jobs.find(JobQuery(**query))).items]


async def all_names(store: Store, *, limit: int, **query: Any) -> list[str]:
    """Return the names of every page, the cursors followed to the end."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await store.jobs.find(JobQuery(**query, limit=limit, cursor=cursor))
        assert len(page.items) == limit or page.next_cursor is None
        found += [job.name for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_the_newest_come_first(store: Store) -> None:
    for name, at in (("second", 2), ("third", 3), ("first", 1)):
        await added(store, name=name, at=seconds(at))
    assert await names(store) == ["third", "second", "first"]


async def test_a_list_may_be_empty(store: Store) -> None:
    page = await store.jobs.find(JobQuery())
    assert (page.items, page.next_cursor) == ((), None)
    await added(store)
    for nothing in ({"projects": ()}, {"phases": ()}, {"owner": "nobody"}, {"label": ("a", "b")}, {"projects": ("x",)}):
        assert await names(store, **nothing) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 1000])
async def test_pages_meet_every_job_once(store: Store, limit: int) -> None:
    # Two of each instant: where the time is equal, the uid decides.
    for number in range(6):
        await added(store, name=f"{number}", at=seconds(number // 2))
    found = await all_names(store, limit=limit)
    assert found == ["5", "4", "3", "2", "1", "0"]


async def test_a_page_that_is_just_full_is_the_last(store: Store) -> None:
    for _ in range(3):
        await added(store)
    assert (await store.jobs.find(JobQuery(limit=3))).next_cursor is None
    assert (await store.jobs.find(JobQuery(limit=2))).next_cursor is not None


async def test_jobs_that_are_born_or_pruned_meanwhile_do_not_shift_a_page(store: Store) -> None:
    for number in range(4):
        await added(store, name=f"{number}", at=seconds(number))
    page = await store.jobs.find(JobQuery(limit=2))
    await added(store, name="new", at=seconds(10))
    last = page.items[-1]
    await saved(store, await moved(store, last, P.FAILED, finished_at=seconds(1)), EventKind.FINALISED, finalised=True)
    await store.jobs.prune(finished_before=seconds(2), limit=1)
    assert await names(store, limit=2, cursor=page.next_cursor) == ["1", "0"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "☃", "eyJhIjoxfQ", "MTIzIGFiYw", "!" * 50, "MTIzIDAwMDAwMDAwMDAwMDAwMDA\n", "=" * 7, "A" * 9999]
)
async def test_a_cursor_that_is_not_ours_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(Invalid, match="cursor") as refusal:
        await store.jobs.find(JobQuery(cursor=cursor))
    assert refusal.value.field == "cursor"


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("tr", ["train-b", "train-a", "tra"]),
        ("train-", ["train-b", "train-a"]),
        ("train-a", ["train-a"]),
        ("TR", ["TRAIN"]),
        ("%", ["%percent"]),
        ("_", ["_under"]),
        ("é", ["été"]),
        ("\U0010ffff", ["\U0010ffff\U0010ffff"]),
        ("\ud7ff", ["\ud7ffx"]),
        ("job-", ["job-without-a-name"]),
        ("", None),
    ],
)
async def test_a_name_begins_with_a_prefix(store: Store, prefix: str, expected: list[str] | None) -> None:
    every = ["tra", "train-a", "train-b", "TRAIN", "%percent", "_under", "été", "\U0010ffff\U0010ffff", "\ud7ffx"]
    for number, name in enumerate(every):
        await added(store, name=name, at=seconds(number))
    await added(store, "job-without-a-name", at=seconds(99))
    assert await names(store, name_prefix=prefix) == (
        ["job-without-a-name", *reversed(every)] if expected is None else expected
    )


async def test_a_name_that_many_have_is_found_among_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if three were many: the other way to look for a name.
    monkeypatch.setattr("raysvc.store.job_find._FEW", 2)
    for number in range(5):
        await added(store, name=f"train-{number}")
        await added(store, name="other")
    assert await all_names(store, name_prefix="train", limit=2) == [f"train-{n}" for n in (4, 3, 2, 1, 0)]
    assert await names(store, name_prefix="train-1") == ["train-1"]


async def test_the_range_of_time_is_from_until_before(store: Store) -> None:
    for number in range(5):
        await added(store, name=f"{number}", at=seconds(number))
    assert await names(store, created_after=seconds(2)) == ["4", "3", "2"]
    assert await names(store, created_before=seconds(2)) == ["1", "0"]
    assert await names(store, created_after=seconds(1), created_before=seconds(3)) == ["2", "1"]
    assert await names(store, created_after=seconds(3), created_before=seconds(1)) == []


PROJECTS, OWNERS, LABELS, NAMES = ("a", "b", "b-1"), ("ann", "bob"), ("red", "blue"), ("train", "test", "eval")
QUERIES: list[dict[str, Any]] = [
    {},
    {"projects": ("a",)},
    {"projects": ("b", "a", "b")},
    {"phases": (P.QUEUED,)},
    {"phases": (P.RUNNING, P.QUEUED, P.QUEUED)},
    {"phases": (P.SUCCEEDED, P.RUNNING)},
    {"owner": "ann"},
    {"name_prefix": "t"},
    {"label": ("color", "red")},
    {"label": ("color", "none")},
    {"projects": ("a", "b"), "phases": (P.QUEUED, P.FAILED)},
    {"owner": "bob", "phases": (P.SUCCEEDED, P.FAILED)},
    {"owner": "bob", "phases": (P.QUEUED,), "projects": ("a",)},
    {"label": ("color", "red"), "phases": (P.QUEUED, P.RUNNING)},
    {"label": ("color", "red"), "phases": (P.SUCCEEDED, P.RUNNING), "owner": "ann"},
    {"label": ("color", "blue"), "projects": ("b",), "name_prefix": "te"},
    {"name_prefix": "te", "owner": "ann", "phases": (P.QUEUED, P.FAILED, P.SUCCEEDED), "projects": ("a", "b-1")},
]
RANGES: list[dict[str, datetime]] = [{}, {"created_after": seconds(10), "created_before": seconds(45)}]


@pytest.mark.parametrize("few", [10_000, 3, 0], ids=["few", "many", "nearly always many"])
async def test_any_filters_together_find_what_each_would_leave(
    store: Store, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("raysvc.store.job_find._FEW", few)
    chance = random.Random(3)  # noqa: S311 a repeatable mixture
    jobs = []
    for number in range(60):
        job = await added(
            store,
            project=chance.choice(PROJECTS),
            owner=chance.choice(OWNERS),
            name=f"{chance.choice(NAMES)}-{number}",
            labels={"color": chance.choice(LABELS), "n": str(number)},
            at=seconds(number // 2),
        )
        job = await moved(store, job, chance.choice((P.QUEUED, P.QUEUED, P.RUNNING, P.SUCCEEDED, P.FAILED)))
        if number % 9 == 0:
            await saved(store, job, EventKind.DELETED, deleted=True)
        else:
            jobs.append(job)
    jobs.sort(key=lambda job: (job.created_at, job.uid), reverse=True)
    for filters in QUERIES:
        for bounds in RANGES:
            query = JobQuery(**filters, **bounds)
            expected = [
                job.name
                for job in jobs
                if (query.projects is None or job.project in query.projects)
                and (query.phases is None or job.phase in query.phases)
                and (query.owner is None or job.owner == query.owner)
                and (query.name_prefix is None or job.name.startswith(query.name_prefix))
                and (query.label is None or job.spec.labels.get(query.label[0]) == query.label[1])
                and (query.created_after is None or job.created_at >= query.created_after)
                and (query.created_before is None or job.created_at < query.created_before)
            ]
            assert await all_names(store, limit=4, **filters, **bounds) == expected, query
            assert await names(store, limit=1000, **filters, **bounds) == expected, query


async def test_filters_that_rarely_meet_make_short_pages_that_go_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page looks at so many jobs at most; what it has not found by then is on the next ones."""
    for name in ("_FEW", "_FEW_APART"):
        monkeypatch.setattr(f"raysvc.store.job_find.{name}", 0)
    for name in ("_MOST", "_MOST_SOUGHT", "_MOST_APART"):
        monkeypatch.setattr(f"raysvc.store.job_find.{name}", 7 * 3)
    for number in range(60):
        rare = number in {5, 30, 31, 59}
        await added(store, name=f"{'rare' if rare else 'usual'}-{number}", labels={"a": "b"} if number % 2 else {})
    for few in ({}, {"projects": ("default",)}, {"owner": "ann"}, {"phases": (P.QUEUED, P.FAILED)}):
        for limit in (1, 2, 100):
            names, pages = await all_short(store, name_prefix="rare", limit=limit, **few)
            assert names == ["rare-59", "rare-31", "rare-30", "rare-5"]
            if store_is_sql(store):
                assert 60 / (7 * 3) < pages < 60
    labelled, _ = await all_short(store, label=("a", "b"), name_prefix="rare", owner="ann")
    assert labelled == ["rare-59", "rare-31", "rare-5"]


async def all_short(store: Store, **query: Any) -> tuple[list[str], int]:
    """Return the names of every page, short ones and empty ones too, and how many pages there were."""
    page, pages = await store.jobs.find(JobQuery(**query)), 1
    found = [job.name for job in page.items]
    while page.next_cursor is not None:
        page, pages = await store.jobs.find(JobQuery(**query, cursor=page.next_cursor)), pages + 1
        found += [job.name for job in page.items]
    return found, pages


def store_is_sql(store: Store) -> bool:
    return isinstance(store, SqlStore)
