"""`Prefer: wait`: a reply that is held until there is news, or until the wait is over."""

import asyncio

import httpx
import pytest

from raysvc.domain.event import EventKind
from tests.unit.api_v1.world import World


async def look(world: World, job_id: str, wait: str = "", known: str = "") -> httpx.Response:
    asked = {"Prefer": wait, "If-None-Match": known}
    return await world.call("GET", f"/v1/jobs/{job_id}", headers={name: text for name, text in asked.items() if text})


async def test_a_look_names_the_version_it_saw(world: World) -> None:
    job = await world.submit()
    first, second = await look(world, job.id), await look(world, job.id)
    assert first.headers["etag"] == second.headers["etag"] == f'W/"{job.version}"'


async def test_a_held_reply_comes_with_the_change(world: World) -> None:
    job = await world.submit()
    known = (await look(world, job.id)).headers["etag"]
    held = asyncio.create_task(look(world, job.id, "wait=20", known))
    done, _ = await asyncio.wait({held}, timeout=0.2)
    assert not done
    after, event = job.change(EventKind.REASON, world.clock.now(), actor="test")
    await world.store.jobs.save(after, [event])
    world.platform.signals.notify(job.uid)
    reply = await asyncio.wait_for(held, 15)
    assert reply.headers["etag"] == f'W/"{job.version + 1}"'


async def test_a_change_that_another_process_made_is_found_too(world: World) -> None:
    job = await world.submit()
    known = (await look(world, job.id)).headers["etag"]
    held = asyncio.create_task(look(world, job.id, "respond-async, wait=20", known))
    after, event = job.change(EventKind.REASON, world.clock.now(), actor="test")
    await world.store.jobs.save(after, [event])
    assert (await asyncio.wait_for(held, 15)).headers["etag"] != known


@pytest.mark.parametrize(("wait", "known"), [("", None), ("wait=20", ""), ("wait=20", 'W/"0"'), ("await=20", None)])
async def test_nothing_is_held_without_a_wish_and_a_version(world: World, wait: str, known: str | None) -> None:
    job = await world.submit()
    etag = (await look(world, job.id)).headers["etag"]
    reply = await asyncio.wait_for(look(world, job.id, wait, etag if known is None else known), 15)
    assert reply.status_code == 200


async def test_the_wait_has_an_end_and_a_stopping_server_holds_nobody(world: World) -> None:
    job = await world.submit()
    known = (await look(world, job.id)).headers["etag"]
    assert (await asyncio.wait_for(look(world, job.id, "wait=1", known), 15)).headers["etag"] == known
    world.front.state.stopping.set()
    assert (await asyncio.wait_for(look(world, job.id, "wait=20", known), 15)).status_code == 200
