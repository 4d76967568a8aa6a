"""A real HAProxy between a real client and servers that say who they are."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from raysvc.backends.edge import HaproxyEdge
from raysvc.backends.edge.render import MAX_BODY_BYTES
from raysvc.backends.local.head import alive
from raysvc.bootstrap.clock import SystemClock
from raysvc.errors import Conflict, Unavailable
from raysvc.ports import Route, Target

UID, OTHER = "0" * 16, "1" * 16
Make = Callable[..., Awaitable[HaproxyEdge]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, _Server)
        self._reply({"port": self.server.server_port})

    def do_GET(self) -> None:
        self._reply({"path": self.path, "host": self.headers["host"]})

    def _reply(self, answer: dict[str, object]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:  # HAProxy closes idle connections with a reset
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[], int]]:
    """Start a server; return its port."""
    with ExitStack() as stack:

        def start() -> int:
            server = stack.enter_context(_Server(("127.0.0.1", 0), _Handler))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server.server_port

        yield start


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make an edge on that folder and start it; all of them are closed."""
    made: list[HaproxyEdge] = []

    async def start(name: str = "edge", *, port: int = 0, control: str = "http://127.0.0.1:1") -> HaproxyEdge:
        edge = HaproxyEdge(tmp_path / name, "127.0.0.1", port, control, SystemClock())
        made.append(edge)
        await edge.start()
        return edge

    yield start
    for edge in made:
        await edge.close()


def route(uid: str, *ports: int, models: tuple[str, ...] = ("chat",)) -> Route:
    targets = tuple(Target(replica=f"r{port}", host="127.0.0.1", port=port) for port in ports)
    return Route(service=uid, models=models, targets=targets)


def first_process(edge: HaproxyEdge) -> psutil.Process:
    folder = edge._folder  # noqa: SLF001 there is no other way to see which process it is
    return psutil.Process(json.loads((folder / "edge.json").read_text())["pid"])


async def until(look: Callable[[], bool]) -> None:
    """Return as soon as `look` is true; fails after 30 s."""
    async with asyncio.timeout(30):
        while True:
            if look():
                return
            await asyncio.sleep(0.01)


async def ask(edge: HaproxyEdge, body: object, path: str = "/v1/chat/completions") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{edge.url}{path}", json=body)


async def test_the_models_name_in_the_body_says_where_a_request_goes(make: Make, serve: Callable[[], int]) -> None:
    edge, one, two = await make(), serve(), serve()
    await edge.route([route(UID, one, models=("default/a", "a")), route(OTHER, two, models=("b",))])
    answers = [(await ask(edge, {"x": [1, {"model": "b"}], "model": name})).json()["port"] for name in ("a", "b")]
    assert answers == [one, two]
    assert (await ask(edge, {"model": "default/a"})).json()["port"] == one


async def test_errors_are_in_openais_shape(make: Make, serve: Callable[[], int]) -> None:
    edge = await make()
    await edge.route([route(UID, serve(), models=("a",)), route(OTHER, models=("empty",))])
    for body, status, code in (
        ({"model": 'no"ne'}, 404, "model_not_found"),
        ({"model": "../a"}, 404, "model_not_found"),
        ({"model": "a b"}, 404, "model_not_found"),
        ({"messages": []}, 400, "invalid_request"),
        ({"model": ""}, 400, "invalid_request"),
        ([], 400, "invalid_request"),
        ({"model": "empty"}, 503, "no_replica"),
    ):
        answer = await ask(edge, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), body
        assert answer.headers["content-type"] == "application/json"
    assert 'no"ne' in (await ask(edge, {"model": 'no"ne'})).json()["error"]["message"]
    assert (await ask(edge, {"model": "empty"})).headers["retry-after"] == "2"


async def test_a_body_of_the_greatest_size_passes(make: Make, serve: Callable[[], int]) -> None:
    edge = await make()
    await edge.route([route(UID, serve())])
    body = {"text": "x" * (MAX_BODY_BYTES - 100), "model": "chat"}
    assert (await ask(edge, body)).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_larger_body_is_refused_and_the_client_hears_why(
    make: Make, serve: Callable[[], int], *, chunked: bool
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b"x" * 50_000

    edge = await make()
    await edge.route([route(UID, serve())])
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        body = pieces() if chunked else b"x" * 4_000_000
        answer = await client.post(f"{edge.url}/v1/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_the_control_plane_lists_the_models_and_nothing_else_is_asked_of_it(
    make: Make, serve: Callable[[], int]
) -> None:
    port = serve()
    edge = await make(control=f"http://127.0.0.1:{port}")
    await edge.route([route(UID)])
    async with httpx.AsyncClient(base_url=edge.url, trust_env=False) as client:
        assert (await client.get("/v1/models")).json() == {"path": "/v1/models", "host": f"127.0.0.1:{port}"}
        assert (await client.get("/v1/models/default/a")).json()["path"] == "/v1/models/default/a"
        assert (await client.get("/v1/jobs")).status_code == 404
        assert (await client.delete("/v1/services/a")).status_code == 404


async def test_new_routes_drop_no_request(make: Make, serve: Callable[[], int]) -> None:
    edge, one, two = await make(), serve(), serve()
    await edge.route([route(UID, one)])
    failed: list[object] = []
    count = 0
    over = asyncio.Event()

    async def load() -> None:
        nonlocal count
        async with httpx.AsyncClient(base_url=edge.url, trust_env=False, timeout=30) as client:
            while not over.is_set():
                try:
                    answer = await client.post("/v1/completions", json={"model": "chat"})
                except httpx.HTTPError as error:
                    failed.append(error)
                else:
                    failed.extend([answer.text] if answer.status_code != 200 else [])
                count += 1

    clients = [asyncio.create_task(load()) for _ in range(4)]
    for number in range(6):
        await edge.route([route(UID, *(one, two)[: 1 + number % 2], models=("chat", f"n{number}"))])
        await until(partial(lambda seen: count >= seen + 20, count))
    over.set()
    await asyncio.gather(*clients)
    assert failed == []


async def test_a_replica_that_is_gone_is_passed_over(make: Make, serve: Callable[[], int]) -> None:
    edge, there = await make(), serve()
    await edge.route([route(UID, there, 1)])  # nothing listens on port 1
    answers = [(await ask(edge, {"model": "chat"})).status_code for _ in range(6)]
    assert answers == [200] * 6


async def test_who_serves_nothing_runs_nothing(make: Make, tmp_path: Path) -> None:
    edge = await make()
    await edge.route([])
    assert not (tmp_path / "edge" / "edge.json").exists()


async def test_the_next_server_adopts_it_with_its_port_and_the_last_one_ends_it(
    make: Make, serve: Callable[[], int]
) -> None:
    edge = await make()
    await edge.route([route(UID, serve())])
    process = first_process(edge)
    await edge.close(leave_running=True)
    assert (await ask(edge, {"model": "chat"})).status_code == 200
    heir = await make()
    assert (heir.url, first_process(heir)) == (edge.url, process)
    await heir.route([route(UID)])
    assert (await ask(edge, {"model": "chat"})).status_code == 503
    family = [process, *process.children()]
    await heir.close()
    assert not any(alive(each) for each in family)


async def test_a_table_that_was_written_and_not_taken_is_told_by_the_next_server(
    make: Make, serve: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: str) -> str:
        raise Unavailable("the master does not answer")

    edge, there = await make(), serve()
    await edge.route([route(UID)])
    monkeypatch.setattr(edge, "_tell", silent)
    with pytest.raises(Unavailable):
        await edge.route([route(UID, there)])
    await edge.close(leave_running=True)
    heir = await make()
    await heir.route([route(UID, there)])
    assert (await ask(heir, {"model": "chat"})).status_code == 200


async def test_it_is_started_anew_where_it_died(make: Make, serve: Callable[[], int], tmp_path: Path) -> None:
    edge = await make()
    await edge.route([route(UID, serve())])
    state = tmp_path / "edge" / "edge.json"
    before = state.read_text()
    first_process(edge).kill()
    await until(lambda: state.read_text() != before)
    assert (await ask(edge, {"model": "chat"})).status_code == 200


async def test_one_that_no_file_names_is_ended_too(make: Make, tmp_path: Path) -> None:
    edge = await make()
    await edge.route([route(UID)])
    process = first_process(edge)
    (tmp_path / "edge" / "edge.json").unlink()
    await edge.close()
    assert not alive(process)


async def test_a_port_that_is_taken_is_said(make: Make, serve: Callable[[], int]) -> None:
    with pytest.raises(Conflict, match="openai-port"):
        await make(port=serve())


async def test_what_it_keeps_is_private(make: Make, tmp_path: Path) -> None:
    edge = await make()
    await edge.route([route(UID)])
    assert tmp_path.joinpath("edge").stat().st_mode & 0o777 == 0o700
    for name in ("admin.sock", "master.sock"):
        assert (tmp_path / "edge" / name).stat().st_mode & 0o777 == 0o600


async def test_a_long_path_is_no_obstacle(make: Make) -> None:
    edge = await make("x" * 120)
    await edge.route([route(UID)])
    await edge.route([route(UID, models=("other",))])
    assert (await ask(edge, {"model": "other"})).status_code == 503
