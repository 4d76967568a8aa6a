"""List and watch: what is known stays true through cuts, expiry and silence, and is said not to be known otherwise."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from raysvc.backends.kuberay.cache import Cache
from raysvc.backends.kuberay.connect import connect
from tests.contract.backend.lab import SystemClock
from tests.unit.backends.kuberay.fake_api import JOBS, FakeApi
from tests.unit.backends.kuberay.scene import until

pytestmark = pytest.mark.usefixtures("kubeconfig")
MINE = {"labels": {"raysvc.dev/instance": "me"}}


@asynccontextmanager
async def following(fake: FakeApi) -> AsyncIterator[tuple[Cache, list[str]]]:
    connection = await connect(None, None)
    heard: list[str] = []

    def hear(item: dict[str, Any]) -> None:
        heard.append(item["metadata"]["name"])

    cache = Cache(connection.kube, JOBS, {"labelSelector": "raysvc.dev/instance=me"}, SystemClock(), hear)
    task = asyncio.create_task(cache.run())
    try:
        await until(lambda: cache.synced and fake.watching == 1)
        yield cache, heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.kube.close()


async def test_what_is_there_and_what_comes_and_goes_is_known(fake: FakeApi) -> None:
    fake.put(JOBS, "old", metadata=MINE)
    fake.put(JOBS, "theirs")
    async with following(fake) as (cache, heard):
        assert [item["metadata"]["name"] for item in cache.all()] == ["old"]
        fake.put(JOBS, "new", metadata=MINE)
        await until(lambda: cache.get("new") is not None)
        fake.put(JOBS, "new", status={"word": "Running"})
        await until(lambda: (cache.get("new") or {}).get("status") == {"word": "Running"})
        fake.remove(JOBS, "old")
        await until(lambda: cache.get("old") is None)
        assert heard == ["old", "new", "new", "old"]


async def test_after_a_cut_it_goes_on_where_it_was(fake: FakeApi) -> None:
    async with following(fake) as (cache, _):
        fake.cut()
        await until(lambda: fake.watching == 1)
        fake.put(JOBS, "new", metadata=MINE)
        await until(lambda: cache.get("new") is not None)
        assert fake.log.count(("GET", JOBS)) == 1


async def test_of_what_has_expired_all_is_listed_anew_and_what_went_meanwhile_is_gone(fake: FakeApi) -> None:
    fake.put(JOBS, "old", metadata=MINE)
    async with following(fake) as (cache, heard):
        del fake.objects[f"{JOBS}/old"]  # and no watch tells of it
        fake.expired = True
        fake.cut()
        await until(lambda: cache.get("old") is None)
        assert heard == ["old", "old"]
        fake.put(JOBS, "new", metadata=MINE)
        await until(lambda: cache.get("new") is not None)


async def test_an_expiry_in_the_midst_of_a_watch_is_one_too(fake: FakeApi) -> None:
    async with following(fake) as (_, _):
        fake.say(JOBS, {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}})
        await until(lambda: fake.log.count(("GET", JOBS)) == 2)


async def test_while_the_server_does_not_answer_nothing_is_known_until_it_does(fake: FakeApi) -> None:
    fake.put(JOBS, "old", metadata=MINE)
    async with following(fake) as (cache, _):
        fake.refuse["GET", JOBS] = [(503, "etcd is busy")]
        fake.say(JOBS, {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "storage is new"}})
        await until(lambda: not cache.synced)
        assert "storage is new" in cache.why
        await until(lambda: cache.synced)
        assert cache.get("old") is not None


async def test_an_answer_that_is_older_than_what_is_known_is_not_taken(fake: FakeApi) -> None:
    async with following(fake) as (cache, _):
        first = fake.put(JOBS, "new", metadata=MINE)
        second = fake.put(JOBS, "new", status={"word": "Running"})
        await until(lambda: cache.get("new") == second)
        cache.put(first)
        assert cache.get("new") == second


async def test_a_bookmark_is_no_object(fake: FakeApi) -> None:
    async with following(fake) as (cache, heard):
        fake.say(JOBS, {"type": "BOOKMARK", "object": {"kind": "RayJob", "metadata": {"resourceVersion": "999"}}})
        fake.put(JOBS, "new", metadata=MINE)
        await until(lambda: cache.get("new") is not None)
        assert heard == ["new"]
