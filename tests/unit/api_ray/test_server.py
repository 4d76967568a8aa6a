"""The servers: their ports, and how they stop."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from raysvc.api import server as server_module
from raysvc.api.server import Listeners, Tls
from raysvc.errors import Conflict, Invalid
from tests.unit.api_ray.serving import DEADLINE_S, served, text_of


async def test_these_run_on_the_loop_that_ships() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def test_port_0_takes_free_ports_and_both_apps_answer_when_ready() -> None:
    async with served(Starlette(routes=[Route("/", text_of("main"))])) as here, httpx.AsyncClient() as client:
        assert (await client.get(here.listeners.url)).text == "main"
        assert (await client.get(here.listeners.dashboard_url)).text == "dashboard"
        assert here.listeners.url != here.listeners.dashboard_url
        assert "server" not in (await client.get(here.listeners.url)).headers


def test_a_port_in_use_is_named_with_its_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=rf"Port {port} of 127.0.0.1 is in use.*--port"):
            Listeners.bind("127.0.0.1", port, 0)
        with pytest.raises(Conflict, match="--dashboard-port"):
            Listeners.bind("127.0.0.1", 0, port)


def test_two_servers_cannot_take_one_port() -> None:
    first = Listeners.bind("127.0.0.1", 0, 0)
    try:
        with pytest.raises(Conflict):
            Listeners.bind("127.0.0.1", first.main.getsockname()[1], 0)
    finally:
        first.close()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(Invalid, match=host):
        Listeners.bind(host, 0, 0)


def test_everywhere_is_no_url_so_loopback_stands_for_it() -> None:
    listeners = Listeners.bind("0.0.0.0", 0, 0)  # noqa: S104 the subject of the test
    try:
        assert listeners.url.startswith("http://127.0.0.1:")
    finally:
        listeners.close()


async def follow(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def hello(url: str) -> ClientConnection:
    client = await connect(url.replace("http", "ws") + "/tail")
    assert await client.recv() == "hello"
    return client


async def test_a_tail_is_dropped_without_a_close_frame_when_the_server_stops() -> None:
    async with served(Starlette(routes=[WebSocketRoute("/tail", follow)])) as here:
        client = await hello(here.listeners.url)
        here.stop.set()
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert client.protocol.close_rcvd is None  # a close frame would be "success" to Ray's client
        await asyncio.wait_for(here.task, DEADLINE_S)


async def test_a_tail_whose_app_fails_is_dropped_without_a_close_frame() -> None:
    async def fail(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")

    async with served(Starlette(routes=[WebSocketRoute("/tail", fail)])) as here:
        client = await hello(here.listeners.url)
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert client.protocol.close_rcvd is None


async def test_pings_keep_a_quiet_tail_open_and_a_reader_that_does_not_answer_is_not_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "PING_S", 0.05)
    async with served(Starlette(routes=[WebSocketRoute("/tail", follow)])) as here:
        reader, writer = await here.connect()
        key = b"dGhlIHNhbXBsZSBub25jZQ=="
        writer.write(b"GET /tail HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
        writer.write(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
        assert b"101 Switching Protocols" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(7) == b"\x81\x05hello"
        for _ in range(5):
            head = await asyncio.wait_for(reader.readexactly(6), DEADLINE_S)
            assert head[:2] == b"\x89\x04"  # a ping of 4 bytes


async def test_a_request_in_flight_ends_and_the_server_with_it() -> None:
    begun, finish = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        begun.set()
        await finish.wait()
        return PlainTextResponse("done")

    async with served(Starlette(routes=[Route("/", slow)])) as here, httpx.AsyncClient() as client:
        answer = asyncio.create_task(client.get(here.listeners.url))
        await begun.wait()
        here.stop.set()
        finish.set()
        assert (await answer).text == "done"
        await asyncio.wait_for(here.task, DEADLINE_S)


async def test_a_stream_that_watches_for_the_stop_ends_by_itself() -> None:
    app = Starlette(routes=[])
    app.state.stopping = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        yield b"one\n"
        await app.state.stopping.wait()
        yield b"end\n"

    async def stream(_request: Request) -> Response:
        return StreamingResponse(events())

    app.router.routes.append(Route("/", stream))
    async with served(app) as here, httpx.AsyncClient() as client, client.stream("GET", here.listeners.url) as reply:
        chunks = reply.aiter_bytes()
        assert await anext(chunks) == b"one\n"
        here.stop.set()
        assert await anext(chunks) == b"end\n"


async def test_what_does_not_end_in_time_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "GRACE_S", 0)
    cleaned = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        try:
            yield b"one\n"
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async def stream(_request: Request) -> Response:
        return StreamingResponse(events())

    app = Starlette(routes=[Route("/", stream)])
    async with served(app) as here, httpx.AsyncClient() as client, client.stream("GET", here.listeners.url) as reply:
        chunks = reply.aiter_bytes()
        assert await anext(chunks) == b"one\n"
        here.stop.set()
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(chunks)
        await asyncio.wait_for(here.task, DEADLINE_S)
        assert cleaned.is_set()


async def test_a_certificate_makes_it_https(tmp_path: Path) -> None:
    tls = certificate(tmp_path)
    listeners, stop, ready = Listeners.bind("127.0.0.1", 0, 0, tls=tls), asyncio.Event(), asyncio.Event()
    app = Starlette(routes=[Route("/", text_of("main")), WebSocketRoute("/tail", follow)])
    task = asyncio.create_task(listeners.serve(app, app, stop, on_ready=ready.set))
    await asyncio.wait_for(ready.wait(), DEADLINE_S)
    url = listeners.url
    assert url.startswith("https://")
    trusted = ssl.create_default_context(cafile=str(tls.certificate))
    async with httpx.AsyncClient(verify=trusted) as client:
        assert (await client.get(url)).text == "main"
    tail = await connect(url.replace("https", "wss") + "/tail", ssl=trusted)
    assert await tail.recv() == "hello"
    stop.set()
    with pytest.raises(ConnectionClosedError):
        await tail.recv()
    await asyncio.wait_for(task, DEADLINE_S)


def certificate(folder: Path) -> Tls:
    """Make a certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "raysvc test")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Tls(pem, private)
