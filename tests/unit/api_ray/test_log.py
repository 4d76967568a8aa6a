"""Logs, whole and followed."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysvc.api.ray import log as log_module
from raysvc.api.ray.log import FRAME_BYTES, text
from raysvc.domain.job import Job
from raysvc.domain.job import JobPhase as P
from raysvc.domain.project import Role
from raysvc.errors import Unavailable
from tests.unit.api_ray.websocket import Socket
from tests.unit.api_ray.world import World

TAIL = "/api/jobs/j1/logs/tail"


@pytest.fixture
async def job(client: httpx.AsyncClient, world: World) -> Job:
    await client.post("/api/jobs/", json={"entrypoint": "x", "submission_id": "j1"})
    return await world.job("j1")


async def collect(*chunks: bytes) -> list[str]:
    async def source() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [piece async for piece in text(source())]


@given(st.text(), st.lists(st.integers(0, 40)))
async def test_text_comes_out_as_it_went_in_however_it_is_cut(said: str, cuts: list[int]) -> None:
    data = said.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    assert "".join(await collect(*pieces)) == said


async def test_no_frame_is_above_a_mebibyte_whatever_the_bytes() -> None:
    for byte in (b"a", b"\xff", "€".encode()):
        frames = await collect(byte * (3 * FRAME_BYTES // len(byte)))
        assert max(len(frame.encode()) for frame in frames) <= 1 << 20
        assert "".join(frames) == (byte * (3 * FRAME_BYTES // len(byte))).decode(errors="replace")


async def test_the_whole_log_is_one_json_text(client: httpx.AsyncClient, world: World, job: Job) -> None:
    assert (await client.get("/api/jobs/j1/logs")).json() == {"logs": ""}
    await world.move("j1", P.STARTING, P.RUNNING)
    said = 'a "quoted" \\ line\n\ttab € \x1b[1m 𝄞\r\n'
    await world.write(job, said.encode() + b"\xff")
    reply = await client.get("/api/jobs/j1/logs/")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"logs": said + "\ufffd"}


async def test_later_attempts_stand_behind_their_line(client: httpx.AsyncClient, world: World, job: Job) -> None:
    await world.move("j1", P.STARTING, P.RUNNING)
    await world.write(job, b"one\n")
    await world.move("j1", P.QUEUED, P.STARTING, P.RUNNING, P.SUCCEEDED)
    await world.write(job, b"two\n", attempt=2)
    logs = (await client.get("/api/jobs/j1/logs")).json()["logs"]
    assert logs == "one\n\n[raysvc] ---- attempt 2 ----\ntwo\n"


async def test_a_tail_is_open_while_queued_follows_and_ends_with_1000(
    client: httpx.AsyncClient, world: World, job: Job
) -> None:
    async with Socket(world.app, TAIL, dict(client.headers)) as socket:
        assert socket.received[0]["type"] == "websocket.accept"
        await world.move("j1", P.STARTING, P.RUNNING)
        await world.write(job, "first €".encode()[:-1])
        await socket.until(lambda: socket.text == "first ")
        assert socket.close is None
        await world.write(job, "€".encode()[-1:] + b" second\n")
        await socket.until(lambda: socket.text == "first € second\n")
        await world.write(job, b"last\n")
        await world.move("j1", P.SUCCEEDED)
        await socket.until(lambda: socket.close is not None)
    assert socket.text == "first € second\nlast\n"
    assert socket.close == 1000


async def test_a_tail_goes_on_over_a_retry(client: httpx.AsyncClient, world: World, job: Job) -> None:
    await world.move("j1", P.STARTING, P.RUNNING)
    await world.write(job, b"one\n")
    async with Socket(world.app, TAIL, dict(client.headers)) as socket:
        await world.move("j1", P.QUEUED, P.STARTING, P.RUNNING)
        await world.write(job, b"two\n", attempt=2)
        await socket.until(lambda: socket.text.endswith("two\n"))
        assert socket.close is None
        await world.move("j1", P.SUCCEEDED)
        await socket.until(lambda: socket.close == 1000)


async def test_an_ended_job_is_sent_whole_and_closed(client: httpx.AsyncClient, world: World, job: Job) -> None:
    await world.move("j1", P.STARTING, P.RUNNING)
    await world.write(job, b"x" * (3 << 20))
    await world.move("j1", P.SUCCEEDED)
    async with Socket(world.app, f"/p/default{TAIL}/", dict(client.headers)) as socket:
        await socket.until(lambda: socket.close == 1000)
    assert socket.text == "x" * (3 << 20)


@pytest.mark.parametrize(("path", "status"), [("/api/jobs/none/logs/tail", 404), ("/p/none/api/jobs/j/logs/tail", 404)])
async def test_what_is_not_there_is_told_before_the_upgrade(
    client: httpx.AsyncClient, world: World, path: str, status: int
) -> None:
    async with Socket(world.app, path, dict(client.headers)) as socket:
        await socket.until(socket.task.done)
    assert socket.received[0]["type"] == "websocket.http.response.start"
    assert socket.received[0]["status"] == status


@pytest.mark.usefixtures("job")
async def test_a_tail_takes_a_token(world: World) -> None:
    for headers, status in (({}, 401), ({"Authorization": "Bearer no"}, 403)):
        async with Socket(world.app, TAIL, headers) as socket:
            await socket.until(socket.task.done)
        assert socket.received[0]["status"] == status
    header = {"X-Ray-Authorization": f"Bearer {await world.token(Role.VIEWER)}"}
    async with Socket(world.app, TAIL, header) as socket:
        assert socket.received[0]["type"] == "websocket.accept"


@pytest.mark.usefixtures("job")
async def test_a_plain_get_of_the_tail_is_a_400(client: httpx.AsyncClient) -> None:
    assert (await client.get(TAIL)).status_code == 400


@pytest.mark.usefixtures("job")
async def test_a_reader_that_leaves_ends_the_reading_at_once(client: httpx.AsyncClient, world: World) -> None:
    await world.move("j1", P.STARTING, P.RUNNING)
    async with Socket(world.app, TAIL, dict(client.headers)) as socket:
        waiters = world.platform.signals._waiters  # noqa: SLF001 no other trace of a sleeping reader
        await socket.until(lambda: bool(waiters))
        socket.disconnect()
        await socket.until(socket.task.done)
    assert not waiters
    assert socket.close is None


@pytest.mark.usefixtures("job")
async def test_a_reader_that_leaves_in_the_middle_of_a_frame_ends_it_too(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.move("j1", P.STARTING, P.RUNNING)
    closed = asyncio.Event()

    async def read(_job: Job, *, follow: bool) -> AsyncIterator[bytes]:
        assert follow
        try:
            while True:
                yield b"x" * FRAME_BYTES
        finally:
            closed.set()

    monkeypatch.setattr(world.platform.logs, "read", read)
    async with Socket(world.app, TAIL, dict(client.headers), slow=True) as socket:
        socket.disconnect()
        await socket.until(socket.task.done)
    assert closed.is_set()
    assert len(socket.received) == 1  # the accept: a slow reader holds everything up


@pytest.mark.usefixtures("job")
async def test_a_reader_whose_token_ends_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "RECHECK_S", 0.02)
    token, secret = await world.platform.gate.issue(Role.VIEWER, owner="ada")
    await world.move("j1", P.STARTING, P.RUNNING)
    async with Socket(world.app, TAIL, {"Authorization": f"Bearer {secret}"}) as socket:
        await world.store.close()  # of a store that is away nothing follows
        await asyncio.sleep(0.1)
        assert not socket.task.done()
        await world.store.open()
        await world.platform.gate.revoke(token.id)
        await socket.until(socket.task.done)
    assert socket.close is None


@pytest.mark.usefixtures("job")
async def test_a_reader_that_is_slow_holds_up_the_reading_and_not_the_memory(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_so_far = 0

    async def read(_job: Job, *, follow: bool) -> AsyncIterator[bytes]:
        nonlocal read_so_far
        assert follow
        for _ in range(64):
            read_so_far += 1 << 20
            yield b"x" * (1 << 20)

    monkeypatch.setattr(world.platform.logs, "read", read)
    async with Socket(world.app, TAIL, dict(client.headers), slow=True) as socket:
        for _ in range(50):
            await asyncio.sleep(0)
        assert read_so_far == 1 << 20
        socket.ready.set()
        await socket.until(lambda: socket.close == 1000)
    assert len(socket.text) == 64 << 20


@pytest.mark.usefixtures("job")
async def test_an_archive_that_fails_drops_the_connection_without_a_close_frame(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_job: Job, *, follow: bool) -> AsyncIterator[bytes]:
        assert follow
        yield b"some\n"
        raise Unavailable("the disk is away")

    monkeypatch.setattr(world.platform.logs, "read", read)
    async with Socket(world.app, TAIL, dict(client.headers)) as socket:
        await socket.until(socket.task.done)
    assert socket.text == "some\n"
    assert socket.close is None


@pytest.mark.usefixtures("job")
async def test_a_whole_log_that_breaks_off_is_no_json(
    client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_job: Job) -> AsyncIterator[bytes]:
        yield b"some\n"
        raise Unavailable("the disk is away")

    monkeypatch.setattr(world.platform.logs, "read", read)
    with pytest.raises(Unavailable):  # in a real server: the connection is cut
        json.loads((await client.get("/api/jobs/j1/logs")).text)
