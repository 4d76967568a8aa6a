"""What a client may not do to a server: hold it up with headers without end, or a body that stands still."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from raysvc.api import connection
from raysvc.api.connection import MAX_HEADER_BYTES
from raysvc.api.plain import Stream
from tests.unit.api_ray.serving import DEADLINE_S, echo, served, text_of


async def hung_up(reader: asyncio.StreamReader) -> bool:
    """Wait until the server closes, and tell whether it said nothing. What it has not read by then makes it a reset."""
    with suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
    return True


async def test_headers_that_do_not_end_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_S", 0.2)
    async with served(Starlette(routes=[Route("/", echo, methods=["POST"])])) as here:
        silent, _ = await here.connect()
        assert await asyncio.wait_for(silent.read(), DEADLINE_S) == b""
        reader, writer = await here.connect()

        async def drip() -> None:
            writer.write(b"GET / HTTP/1.1\r\n")
            while True:
                writer.write(b"X-A: b\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert await hung_up(reader)
        dripping.cancel()


async def test_a_second_request_on_a_connection_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_S", 1.0)
    async with served(Starlette(routes=[Route("/", echo, methods=["POST"])])) as here:
        reader, writer = await here.connect()
        whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"
        writer.write(whole)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(1) == b"1"
        await asyncio.sleep(1.5)  # longer than the deadline: a quiet connection is kept
        writer.write(whole)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readexactly(1)
        writer.write(b"POST / HTTP/1.1\r\nHost")
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""


async def test_a_body_that_stands_still_is_given_up_and_a_slow_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BODY_S", 1.5)
    monkeypatch.setattr(connection, "LEAST_BYTES_PER_S", 0.5)
    async with served(Starlette(routes=[Route("/", echo, methods=["POST"])])) as here:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n"
        reader, writer = await here.connect()
        writer.write(head)
        for _ in range(8):
            await asyncio.sleep(0.25)  # the pace of a slow client: longer than the limit in all
            writer.write(b"a")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        reader, writer = await here.connect()
        writer.write(head + b"aaa")
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""


async def test_a_body_that_comes_a_byte_at_a_time_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BODY_S", 0.2)
    async with served(Starlette(routes=[Route("/", echo, methods=["POST"])])) as here:
        reader, writer = await here.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert await hung_up(reader)
        dripping.cancel()


async def test_too_many_connections_cost_the_place_of_who_owes_a_request_the_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raysvc.api.room.most_connections", lambda: 5)
    async with served(Starlette(routes=[Route("/", text_of("main"))])) as here, httpx.AsyncClient() as client:
        silent = [await here.connect() for _ in range(12)]
        assert (await client.get(here.listeners.url)).text == "main"
        gone = [await asyncio.wait_for(reader.read(), DEADLINE_S) for reader, _ in silent[:7]]
        assert gone == [b""] * 7, "the first to come are the first to go"
        assert (await client.get(here.listeners.url)).text == "main"
        _, writer = silent[-1]
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await silent[-1][0].readline()).startswith(b"HTTP/1.1 200"), "the last still has its place"


async def test_a_reader_that_goes_ends_what_is_streamed_to_it() -> None:
    closed = asyncio.Event()

    async def lines() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                await asyncio.sleep(0)  # as whatever reads a disk or a socket does
                yield b"x" * (1 << 16)
        finally:
            closed.set()

    async def stream(_request: Request) -> Response:
        return Stream(lines())

    async with served(Starlette(routes=[Route("/", stream)])) as here, httpx.AsyncClient() as client:
        async with client.stream("GET", here.listeners.url) as reply:
            await anext(reply.aiter_raw())
        await asyncio.wait_for(closed.wait(), DEADLINE_S)


async def test_headers_have_an_end() -> None:
    async with served(Starlette(routes=[Route("/", text_of("main"))])) as here, httpx.AsyncClient() as client:
        fits = await client.get(here.listeners.url, headers={"X-A": "a" * (MAX_HEADER_BYTES - 1000)})
        assert fits.status_code == 200
        reader, writer = await here.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), DEADLINE_S)).startswith(b"HTTP/1.1 400")
