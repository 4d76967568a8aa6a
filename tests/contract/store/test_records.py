"""Projects, tokens, secrets and flags, and a store that is closed."""

from collections.abc import Awaitable, Callable

import pytest

from raysvc.domain.project import Limits, Project, Role, Secret, Token
from raysvc.domain.query import JobQuery
from raysvc.errors import AlreadyExists, NotFound, Unavailable
from raysvc.ports import Store
from tests.contract.store.make import START, added, new, package, saved, seconds


def token(id_: str, at: float = 0) -> Token:
    return Token(id=id_, role=Role.MEMBER, projects=("a", "b"), owner="ann", created_at=seconds(at))


def secret(name: str, project: str = "default", digest: str = "d") -> Secret:
    return Secret(name=name, project=project, digest=digest, created_at=START, updated_at=START)


async def test_projects_are_put_replaced_and_listed_by_name(store: Store) -> None:
    b, a = Project(name="b", created_at=START), Project(name="a", created_at=START)
    await store.projects.put(b)
    await store.projects.put(a)
    assert list(await store.projects.list()) == [a, b]
    limited = b.model_copy(update={"limits": Limits(max_running_jobs=3, max_gpus=0.5)})
    await store.projects.put(limited)
    assert await store.projects.get("b") == limited
    with pytest.raises(NotFound, match="'c'"):
        await store.projects.get("c")


async def test_tokens_are_found_by_their_hash_and_listed_by_age(store: Store) -> None:
    young, old = token("young", 5), token("old", 1)
    await store.tokens.add(young, "h1")
    await store.tokens.add(old, "h2")
    assert await store.tokens.by_hash("h1") == young
    assert await store.tokens.by_hash("h3") is None
    assert list(await store.tokens.list()) == [old, young]


@pytest.mark.parametrize(("id_", "secret_hash"), [("a", "h2"), ("b", "h1")])
async def test_a_token_is_added_once(store: Store, id_: str, secret_hash: str) -> None:
    await store.tokens.add(token("a"), "h1")
    with pytest.raises(AlreadyExists):
        await store.tokens.add(token(id_), secret_hash)
    assert list(await store.tokens.list()) == [token("a")]


async def test_a_revoked_token_says_since_when(store: Store) -> None:
    await store.tokens.add(token("a"), "h")
    await store.tokens.revoke("a", seconds(7))
    await store.tokens.revoke("a", seconds(9))
    revoked = await store.tokens.by_hash("h")
    assert revoked is not None
    assert revoked.revoked_at == seconds(7)
    with pytest.raises(NotFound, match="'b'"):
        await store.tokens.revoke("b", seconds(7))


async def test_secrets_are_put_replaced_listed_and_deleted(store: Store) -> None:
    await store.secrets.put(secret("B"), b"\x00\xff")
    await store.secrets.put(secret("A"), b"a")
    await store.secrets.put(secret("A", project="other"), b"other's")
    await store.secrets.put(secret("A", digest="new"), b"b")
    assert await store.secrets.get("default", "B") == (secret("B"), b"\x00\xff")
    assert await store.secrets.get("default", "A") == (secret("A", digest="new"), b"b")
    assert list(await store.secrets.list("default")) == [secret("A", digest="new"), secret("B")]
    await store.secrets.delete("default", "A")
    with pytest.raises(NotFound, match="'A'"):
        await store.secrets.get("default", "A")
    with pytest.raises(NotFound):
        await store.secrets.delete("default", "A")
    assert await store.secrets.get("other", "A") == (secret("A", project="other"), b"other's")


async def test_flags_are_set_changed_and_taken_away(store: Store) -> None:
    assert await store.flags.get("paused") is None
    await store.flags.put("paused", "for the night")
    await store.flags.put("paused", "")
    assert await store.flags.get("paused") == ""
    await store.flags.put("paused", None)
    await store.flags.put("paused", None)
    assert await store.flags.get("paused") is None


_CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "add": added,
    "add_once": lambda store: store.jobs.add_once(*new(), key="k", body_digest="d"),
    "save": lambda store: saved(store, new()[0]),
    "prune": lambda store: store.jobs.prune(finished_before=START, limit=1),
    "get": lambda store: store.jobs.get("default", "a"),
    "get_by_uid": lambda store: store.jobs.get_by_uid("0" * 16),
    "find": lambda store: store.jobs.find(JobQuery()),
    "due": lambda store: store.jobs.due(START),
    "get_many": lambda store: store.jobs.get_many(["0" * 16]),
    "waiting": lambda store: store.jobs.waiting(1),
    "placed": lambda store: store.jobs.placed(),
    "count_queued": lambda store: store.jobs.count_queued("default"),
    "events": lambda store: store.jobs.events("0" * 16),
    "lease": lambda store: store.leases.acquire("a", "b", now=START, ttl_s=1),
    "projects": lambda store: store.projects.list(),
    "tokens": lambda store: store.tokens.add(token("a"), "h"),
    "secrets": lambda store: store.secrets.list("default"),
    "packages": lambda store: store.packages.add(package()),
    "flags": lambda store: store.flags.get("a"),
}


@pytest.mark.parametrize("call", _CALLS)
async def test_a_store_that_is_not_open_is_unavailable(opener: Callable[[], Store], call: str) -> None:
    store = opener()
    with pytest.raises(Unavailable, match="closed"):
        await _CALLS[call](store)
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(Unavailable, match="closed"):
        await _CALLS[call](store)


async def test_what_was_kept_is_there_after_reopening(opener: Callable[[], Store]) -> None:
    store = opener()
    await store.open()
    job = await added(store, "a", labels={"k": "v"})
    await store.flags.put("paused", "yes")
    await store.close()
    store = opener()
    await store.open()
    assert await store.jobs.get("default", "a") == job
    assert (await store.jobs.find(JobQuery(label=("k", "v")))).items == (job,)
    assert await store.flags.get("paused") == "yes"
    await store.close()
