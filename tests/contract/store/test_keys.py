"""Inference keys, and a ledger that counts each request once, whoever reports it how often."""

import asyncio
from collections.abc import Callable
from datetime import date

import pytest

from raysvc.domain.key import Key, UsageBy, UsagePeriod
from raysvc.domain.replica import Usage
from raysvc.errors import AlreadyExists, NotFound
from raysvc.ports import Store, UsageBatch
from tests.contract.store.make import START, seconds

EVER = UsagePeriod()
DAY_S = 86_400


def key(key_id: str, project: str = "p", after: float = 0, **given: object) -> Key:
    return Key.model_validate({"id": key_id, "project": project, "owner": "ann", "created_at": seconds(after), **given})


def used(sequence: int, key_id: str = "k", *, at: float = 0, status: int = 200, **given: object) -> Usage:
    known = {"prompt_tokens": 10, "completion_tokens": 3, "request_id": f"r{sequence}"}
    return Usage.model_validate(
        {"sequence": sequence, "key": key_id, "at": seconds(at), "status": status, **known, **given}
    )


def batch(*usage: Usage, replica: str = "r", project: str = "p", service: str = "chat") -> UsageBatch:
    return UsageBatch(project, service, "0123456789abcdef", replica, usage)


async def test_keys_are_kept_with_their_digests_and_listed_oldest_first(store: Store) -> None:
    late = key("b", after=1)
    early = key("c", services=("chat",), requests_per_minute=60.5, budget_tokens=10**15, name="für ✓")
    await store.keys.add(late, "d1")
    await store.keys.add(early, "d2")
    await store.keys.add(key("a", project="q"), "d3")
    assert list(await store.keys.find("p")) == [(early, "d2"), (late, "d1")]
    assert list(await store.keys.find("nowhere")) == []
    assert await store.keys.by_digest("d2") == early
    assert await store.keys.by_digest("d0") is None
    with pytest.raises(AlreadyExists):
        await store.keys.add(key("d"), "d1")
    with pytest.raises(AlreadyExists):
        await store.keys.add(key("a"), "d4")


async def test_a_revoked_key_stays_revoked_since_then(store: Store) -> None:
    await store.keys.add(key("a"), "d")
    revoked = await store.keys.revoke("p", "a", seconds(5), "bob")
    assert (revoked.revoked_at, revoked.revoked_by) == (seconds(5), "bob")
    assert await store.keys.revoke("p", "a", seconds(9), "eve") == revoked
    assert list(await store.keys.find("p")) == [(revoked, "d")]
    for project, name in (("q", "a"), ("p", "b")):
        with pytest.raises(NotFound, match=f"'{name}'"):
            await store.keys.revoke(project, name, START, "bob")


async def test_what_was_counted_is_not_counted_again(store: Store) -> None:
    first = [used(1), used(2, status=499, completion_tokens=1)]
    assert await store.ledger.take(batch(*first)) == (2, first)
    # The answer was lost: the replica sends them again, and what came since.
    third = used(3, status=200, estimated=True)
    assert await store.ledger.take(batch(*first, third)) == (3, [third])
    assert await store.ledger.take(batch(*first, third)) == (3, [])
    assert await store.ledger.take(batch()) == (3, [])
    (total,) = await store.ledger.totals("p", UsageBy.KEY, EVER)
    assert total.model_dump() == {
        "of": "k",
        "requests": 3,
        "failed": 1,
        "prompt_tokens": 30,
        "completion_tokens": 7,
        "estimated_tokens": 13,
    }
    assert await store.ledger.spent("p") == {"k": 37}


async def test_each_replica_has_a_sequence_of_its_own(store: Store) -> None:
    assert await store.ledger.take(batch(used(7), replica="one")) == (7, [used(7)])
    assert await store.ledger.take(batch(used(1), replica="two")) == (1, [used(1)])
    other = UsageBatch("p", "chat", "fedcba9876543210", "one", (used(2),))
    assert await store.ledger.take(other) == (2, [used(2)])
    assert await store.ledger.spent("p") == {"k": 39}


async def test_totals_are_by_key_service_or_day_of_one_project(store: Store) -> None:
    await store.ledger.take(batch(used(1, "k1"), used(2, "k2", at=DAY_S), used(3, "k1", at=2 * DAY_S)))
    await store.ledger.take(batch(used(1, "k1", at=DAY_S), replica="e", service="embed"))
    await store.ledger.take(batch(used(1, "k1"), replica="q", project="q"))

    async def counted(by: UsageBy, period: UsagePeriod = EVER) -> dict[str, int]:
        return {total.of: total.requests for total in await store.ledger.totals("p", by, period)}

    assert await counted(UsageBy.KEY) == {"k1": 3, "k2": 1}
    assert await counted(UsageBy.SERVICE) == {"chat": 3, "embed": 1}
    assert list((await counted(UsageBy.DAY)).items()) == [("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-03", 1)]
    second = UsagePeriod(since=date(2026, 1, 2), until=date(2026, 1, 2))
    assert await counted(UsageBy.SERVICE, second) == {"chat": 1, "embed": 1}
    assert await counted(UsageBy.KEY, UsagePeriod(since=date(2026, 1, 3))) == {"k1": 1}
    assert await counted(UsageBy.KEY, UsagePeriod(until=date(2026, 1, 1))) == {"k1": 1}
    assert await store.ledger.spent("q") == {"k1": 13}
    assert await store.ledger.spent("nowhere") == {}


async def test_a_thousand_large_requests_are_summed_exactly(store: Store) -> None:
    many = [used(n, f"k{n % 3}", prompt_tokens=10**9, completion_tokens=n) for n in range(1, 1001)]
    assert (await store.ledger.take(batch(*many)))[0] == 1000
    spent = await store.ledger.spent("p")
    assert sum(spent.values()) == 1000 * 10**9 + sum(range(1, 1001))


async def test_one_report_through_two_servers_at_once_is_counted_once(opener: Callable[[], Store]) -> None:
    stores = [opener(), opener()]
    for store in stores:
        await store.open()
    try:
        reports = [[used(n) for n in range(1, top)] for top in (5, 9, 3, 9)]
        takes = [
            store.ledger.take(batch(*report, replica=f"r{r}"))
            for r in range(5)
            for store in stores
            for report in reports
        ]
        outcomes = await asyncio.gather(*takes)
        assert max(through for through, _ in outcomes) == 8
        # Each sequence number of each replica was new to exactly one of the calls.
        assert sum(len(fresh) for _, fresh in outcomes) == 5 * 8
        assert await stores[0].ledger.spent("p") == {"k": 5 * 8 * 13}
    finally:
        for store in stores:
            await store.close()
