"""Inference keys as replicas get them: shares of limits, leases of budgets, and versions that tell a change."""

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import pytest

from raysvc.control.ids import RandomIds
from raysvc.control.key import PREFIX, KeyDesk, hash_key
from raysvc.control.usage import UsageDesk
from raysvc.domain.access import Principal
from raysvc.domain.key import NewKey, UsageBy, UsagePeriod
from raysvc.domain.project import Project, Role
from raysvc.domain.replica import KeyGrant, ReplicaReport, ReplicaState, Usage
from raysvc.errors import Forbidden, Invalid, NotFound, Unauthenticated
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore

ADMIN = Principal(name="ann", role=Role.ADMIN, projects=("p",))
UID = "0123456789abcdef"


class Desks:
    """A project with its desks, as one server has them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.keys, self.usage = self.server()

    def server(self) -> tuple[KeyDesk, UsageDesk]:
        store = self.store
        ids = RandomIds(Random(7))  # noqa: S311 no secret of anybody
        keys = KeyDesk(store.keys, store.ledger, store.projects, self.clock, ids)
        return keys, UsageDesk(store.ledger, keys, store.projects, self.clock)

    async def make(self, **given: object) -> tuple[str, str]:
        """Return the id and the secret of a new key."""
        self.clock.advance(0.001)  # so that keys have an order
        key, secret = await self.keys.create(ADMIN, "p", NewKey.model_validate(given))
        assert secret is not None
        return key.id, secret

    async def granted(self, service: str = "chat", replicas: int = 1, replica: str = "r") -> tuple[KeyGrant, ...]:
        return (await self.keys.grants("p", service, replicas, replica=replica))[1]

    def report(self, *usage: Usage, replica: str = "r") -> ReplicaReport:
        return ReplicaReport(
            service=UID, revision=1, replica=replica, host="127.0.0.1", port=1, state=ReplicaState.READY, usage=usage
        )

    def used(self, sequence: int, key: str, tokens: int, **given: object) -> Usage:
        known = {"request_id": "r", "at": self.clock.now(), "status": 200, "prompt_tokens": 0}
        return Usage.model_validate({"sequence": sequence, "key": key, "completion_tokens": tokens, **known, **given})


@pytest.fixture
async def desks() -> Desks:
    made = Desks()
    await made.store.open()
    await made.store.projects.put(Project(name="p", created_at=made.clock.now()))
    return made


async def test_a_secret_is_shown_once_and_kept_as_a_hash(desks: Desks) -> None:
    key_id, secret = await desks.make(services=("chat",), requests_per_minute=60)
    assert secret.startswith(PREFIX)
    assert len(secret) >= len(PREFIX) + 43  # 256 bits, in base 64
    (grant,) = await desks.granted()
    assert (grant.id, grant.digest) == (key_id, hash_key(secret))
    for found in await desks.keys.find(ADMIN, "p"):
        assert secret not in repr(found)
        assert hash_key(secret) not in repr(found)


async def test_a_key_opens_the_services_it_names_or_all_of_its_project(desks: Desks) -> None:
    named, _ = await desks.make(services=("chat",))
    every, _ = await desks.make()
    assert [grant.id for grant in await desks.granted("chat")] == [named, every]
    assert [grant.id for grant in await desks.granted("embed")] == [every]
    await desks.store.projects.put(Project(name="q", created_at=desks.clock.now()))
    assert (await desks.keys.grants("q", "chat", 1, replica="r"))[1] == ()


async def test_limits_are_shared_by_all_replicas_that_a_key_opens(desks: Desks) -> None:
    await desks.make(services=("chat",), requests_per_minute=60, tokens_per_minute=1000)
    await desks.make(requests_per_minute=60)
    assert [grant.requests_per_minute for grant in await desks.granted("chat", 2)] == [30, 60 / 2]
    (every,) = await desks.granted("embed", 4)
    assert every.requests_per_minute == 60 / 6
    named, every = await desks.granted("chat", 2)
    assert (named.requests_per_minute, named.tokens_per_minute) == (30, 500)
    assert (every.requests_per_minute, every.tokens_per_minute) == (10, None)
    desks.clock.advance(31)  # nothing was heard of embed's replicas: there are none
    assert [grant.requests_per_minute for grant in await desks.granted("chat", 2)] == [30, 30]


async def test_what_is_kept_for_numbers_of_replicas_has_a_bound(desks: Desks) -> None:
    await desks.make()
    for replicas in range(1, 200):
        await desks.granted("chat", replicas)
    (table,) = desks.keys._tables.values()  # noqa: SLF001 memory is not seen from outside
    assert len(table.made) <= 64


async def test_a_version_tells_a_table_that_changed(desks: Desks) -> None:
    key_id, _ = await desks.make(budget_tokens=1000)

    async def version(replicas: int = 1) -> str:
        return (await desks.keys.grants("p", "chat", replicas, replica="r"))[0]

    first = await version()
    assert await version() == first
    desks.clock.advance(10)
    assert await version() == first
    assert await version(2) != first
    assert await version(1) == first
    await desks.usage.take(desks.report(desks.used(1, key_id, 5)), project="p", service="chat")
    assert await version() != first
    later = await version()
    other, _ = await desks.make()
    assert await version() != later
    await desks.keys.revoke(ADMIN, "p", other)
    assert await version() == later


async def test_what_another_server_revokes_is_known_within_two_seconds(desks: Desks) -> None:
    key_id, _ = await desks.make()
    assert len(await desks.granted()) == 1
    elsewhere, _ = desks.server()
    await elsewhere.revoke(ADMIN, "p", key_id)
    desks.clock.advance(2.1)
    assert await desks.granted() == ()


async def test_an_expired_key_is_told_for_a_day_so_that_its_client_hears_why(desks: Desks) -> None:
    await desks.make(expires_at=desks.clock.now() + timedelta(hours=1))
    desks.clock.advance(7200)
    (grant,) = await desks.granted()
    assert grant.expires_at is not None
    desks.clock.advance(86_400)
    assert await desks.granted() == ()


async def test_a_budget_is_leased_in_parts_that_never_exceed_what_is_left(desks: Desks) -> None:
    key_id, _ = await desks.make(budget_tokens=1000)

    async def left(replica: str) -> int:
        (grant,) = await desks.granted(replicas=2, replica=replica)
        assert grant.tokens_left is not None
        return grant.tokens_left

    assert [await left("a"), await left("b")] == [500, 500]
    await desks.usage.take(desks.report(desks.used(1, key_id, 400), replica="a"), project="p", service="chat")
    assert await left("a") == 100  # 600 are left, of which b may hold 500
    assert await left("b") == 300
    assert await left("a") == 300
    # b is silent, and keeps its lease for ten minutes.
    await desks.usage.take(desks.report(desks.used(2, key_id, 300), replica="a"), project="p", service="chat")
    assert await left("a") == 0
    desks.clock.advance(601)
    assert await left("a") == 150
    await desks.usage.take(desks.report(desks.used(3, key_id, 900), replica="a"), project="p", service="chat")
    assert await left("a") == 0


@dataclass
class Guard:
    """A replica as far as a budget goes: it spends its lease, and its reports and their answers may be lost."""

    name: str
    spent: list[int] = field(default_factory=list)
    allowance: int = 0

    def spend(self, wish: int) -> None:
        while wish > 0 and sum(self.spent) < self.allowance:
            self.spent.append(1)
            wish -= 1

    async def call(self, desks: Desks, key: str, replicas: int, random: Random) -> None:
        usage = [desks.used(n + 1, key, tokens) for n, tokens in enumerate(self.spent)]
        if random.random() < 0.1:
            return  # it did not arrive
        through = await desks.usage.take(desks.report(*usage[-1000:], replica=self.name), project="p", service="chat")
        (grant,) = await desks.granted(replicas=replicas, replica=self.name)
        if random.random() < 0.1:
            return  # the answer was lost
        assert grant.tokens_left is not None
        self.allowance = sum(self.spent[:through]) + grant.tokens_left


@pytest.mark.parametrize("seed", range(8))
async def test_replicas_together_spend_a_budget_to_its_end_and_not_a_token_more(desks: Desks, seed: int) -> None:
    random = Random(seed)  # noqa: S311 as above
    budget = random.choice([7, 100, 900])
    key_id, _ = await desks.make(budget_tokens=budget)
    guards = [Guard(f"r{n}") for n in range(random.randint(1, 5))]
    for _ in range(400):
        guard = random.choice(guards)
        guard.spend(random.randint(0, 40))
        await guard.call(desks, key_id, len(guards), random)
        desks.clock.advance(random.random())
    assert sum(sum(guard.spent) for guard in guards) == budget
    assert await desks.store.ledger.spent("p") == {key_id: budget}


async def test_each_ended_request_is_in_the_ledger_once_and_no_day_to_come(desks: Desks) -> None:
    ahead = desks.clock.now() + timedelta(days=3)
    report = desks.report(desks.used(1, "k", 10), desks.used(2, "k", 10, at=ahead))
    for _ in range(3):
        assert await desks.usage.take(report, project="p", service="chat") == 2
    totals = await desks.usage.find(ADMIN, "p", UsageBy.DAY, UsagePeriod())
    assert [(total.of, total.requests, total.completion_tokens) for total in totals] == [("2026-01-01", 2, 20)]


async def test_a_replica_cannot_spend_the_key_of_another_project(desks: Desks) -> None:
    key_id, _ = await desks.make(budget_tokens=100)
    await desks.usage.take(desks.report(desks.used(1, key_id, 90)), project="q", service="chat")
    (grant,) = await desks.granted()
    assert grant.tokens_left == 100


async def test_a_key_is_recognised_by_its_secret_while_it_holds(desks: Desks) -> None:
    key_id, secret = await desks.make(expires_at=desks.clock.now() + timedelta(hours=1))
    found = await desks.keys.recognise(secret)
    assert found is not None
    assert found.id == key_id
    assert await desks.keys.recognise("raysvc_a-token-of-the-platform") is None
    with pytest.raises(Unauthenticated, match="not known"):
        await desks.keys.recognise(f"{PREFIX}made-up")
    desks.clock.advance(3600)
    with pytest.raises(Unauthenticated, match="expired at"):
        await desks.keys.recognise(secret)
    _, other = await desks.make()
    await desks.keys.revoke(ADMIN, "p", (await desks.keys.find(ADMIN, "p"))[-1].id)
    with pytest.raises(Unauthenticated, match="was revoked"):
        await desks.keys.recognise(other)


async def test_who_may_not_is_told_so(desks: Desks) -> None:
    viewer = Principal(name="bob", role=Role.VIEWER, projects=("p",))
    with pytest.raises(Forbidden):
        await desks.keys.create(viewer, "p", NewKey())
    assert list(await desks.keys.find(viewer, "p")) == []
    stranger = Principal(name="eve", role=Role.ADMIN, projects=("q",))
    for call in (desks.keys.find(stranger, "p"), desks.keys.revoke(stranger, "p", "x")):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(Invalid, match="in the past"):
        await desks.keys.create(ADMIN, "p", NewKey(expires_at=desks.clock.now()))
    today = desks.clock.now().date()
    yesterday = UsagePeriod(since=today, until=today - timedelta(days=1))
    with pytest.raises(Invalid, match="since is after until"):
        await desks.usage.find(ADMIN, "p", UsageBy.KEY, yesterday)


async def test_a_dry_run_keeps_nothing(desks: Desks) -> None:
    key, secret = await desks.keys.create(ADMIN, "p", NewKey(name="x"), dry_run=True)
    assert (key.name, secret) == ("x", None)
    assert list(await desks.keys.find(ADMIN, "p")) == []
    key_id, _ = await desks.make()
    assert (await desks.keys.revoke(ADMIN, "p", key_id, dry_run=True)).revoked_at is not None
    assert [key.revoked_at for key in await desks.keys.find(ADMIN, "p")] == [None]
    with pytest.raises(NotFound):
        await desks.keys.revoke(ADMIN, "p", "nothing", dry_run=True)
