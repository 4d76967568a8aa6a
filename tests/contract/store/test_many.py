"""Many jobs at once, each kept or refused on its own."""

from raysvc.domain.job import Job
from raysvc.errors import AlreadyExists, KeyReused, NotFound
from raysvc.ports import Addition, Store
from tests.contract.store.make import added, new


def job_of(outcome: tuple[Job, bool] | Exception) -> tuple[str, bool]:
    assert isinstance(outcome, tuple), outcome
    return outcome[0].id, outcome[1]


async def test_each_of_many_has_an_outcome_in_its_place(store: Store) -> None:
    await added(store, "taken")
    await store.jobs.add_once(*new("first"), key="k", body_digest="d")
    outcomes = await store.jobs.add_each(
        [
            Addition(*new("a")),
            Addition(*new("taken")),
            Addition(*new("b"), packages=["no.zip"]),
            Addition(*new("again"), key="k", body_digest="d"),
            Addition(*new("other"), key="k", body_digest="e"),
            Addition(*new("twice"), key="l", body_digest="d"),
            Addition(*new("twice_too"), key="l", body_digest="d"),
            Addition(*new("a")),
            Addition(*new("z")),
        ]
    )
    assert [job_of(outcomes[place]) for place in (0, 3, 5, 6, 8)] == [
        ("a", True),
        ("first", False),
        ("twice", True),
        ("twice", False),
        ("z", True),
    ]
    refusals = {1: AlreadyExists, 2: NotFound, 4: KeyReused, 7: AlreadyExists}
    assert {place: type(outcomes[place]) for place in refusals} == refusals
    assert (await store.jobs.get("default", "z")).id == "z"


async def test_many_are_more_than_one_transaction_takes(store: Store) -> None:
    jobs = [new(f"j{number}") for number in range(1100)]
    outcomes = await store.jobs.add_each([Addition(*each) for each in jobs])
    assert [job_of(outcome) for outcome in outcomes] == [(job.id, True) for job, _ in jobs]
    assert await store.jobs.count_queued("default") == len(jobs)
    last, events = jobs[-1]
    assert await store.jobs.events(last.uid) == events


async def test_none_are_none(store: Store) -> None:
    assert await store.jobs.add_each([]) == []
