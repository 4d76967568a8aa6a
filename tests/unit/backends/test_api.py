"""The HTTP client, against a server that says what Ray would."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from raysvc.backends.rayjob.api import RayApi
from raysvc.errors import Invalid, Unavailable

DUPLICATE = "ValueError: Job with submission_id X already exists. Please use a different submission_id."


class Answers(ThreadingHTTPServer):
    """Answers every request with `answer`, and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: tuple[int, str] = (200, "{}")
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def _reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        status, text = self.server.answer
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PUT = do_DELETE = _reply  # noqa: N815 http.server's names

    def log_request(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def ray() -> Iterator[Answers]:
    with Answers() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
async def api(ray: Answers) -> AsyncIterator[RayApi]:
    made = RayApi(ray.url + "/", "s3cret")
    yield made
    await made.close()


async def test_it_speaks_with_the_clusters_token_and_not_as_a_browser(ray: Answers, api: RayApi) -> None:
    await api.version()
    _, path, headers, _ = ray.asked[0]
    assert path == "/api/version"
    assert headers["authorization"] == "Bearer s3cret"
    assert not {"origin", "referer", "sec-fetch-mode", "cookie"} & headers.keys()
    assert "mozilla" not in headers["user-agent"].lower()


@pytest.mark.parametrize("answer", [(200, '{"submission_id": "x"}'), (500, DUPLICATE)])
async def test_a_submit_that_is_taken_or_was_before_succeeds(
    ray: Answers, api: RayApi, answer: tuple[int, str]
) -> None:
    ray.answer = answer
    await api.submit({"entrypoint": "true"})
    assert ray.asked[0][:2] == ("POST", "/api/jobs/")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((400, "Traceback\nTypeError: unexpected keyword argument 'k'\n"), "unexpected keyword argument 'k'"),
        (
            (500, "RuntimeError: Request failed with status code 400: Traceback\nValueError: bad label\n.\n"),
            "bad label",
        ),
    ],
)
async def test_a_submit_that_is_wrong_is_invalid(
    ray: Answers, api: RayApi, answer: tuple[int, str], words: str
) -> None:
    ray.answer = answer
    with pytest.raises(Invalid, match=words):
        await api.submit({})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, "No available agent to submit job, please try again later."), "No available agent"),
        ((502, "bad gateway"), "502"),
        ((401, "Unauthorized: Missing authentication token"), "refuses our token"),
        ((403, "Forbidden: Invalid authentication token"), "refuses our token"),
    ],
)
async def test_what_may_pass_is_unavailable_and_never_shows_the_token(
    ray: Answers, api: RayApi, answer: tuple[int, str], words: str
) -> None:
    ray.answer = answer
    with pytest.raises(Unavailable, match=words) as caught:
        await api.submit({})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["<html>", "[]", "null", '{"data": {}}', '{"data": null, "msg": "GCS is down"}'])
async def test_an_answer_that_makes_no_sense_is_unavailable(ray: Answers, api: RayApi, text: str) -> None:
    ray.answer = (200, text)
    with pytest.raises(Unavailable):
        await api.nodes()


async def test_nobody_there_is_unavailable() -> None:
    api = RayApi("http://127.0.0.1:1", None)
    with pytest.raises(Unavailable, match="does not answer"):
        await api.version()
    with pytest.raises(Unavailable, match="does not answer"):
        await anext(aiter(api.log_file("node", "file")))
    await api.close()


async def test_a_session_that_ended_while_it_was_in_use_is_unavailable(ray: Answers) -> None:
    """A head dies, its session is let go of, and who asked just before has the session still."""
    api = RayApi(ray.url, None)
    await api.version()
    await api.close()
    await api.close()
    with pytest.raises(Unavailable, match="has ended"):
        await api.nodes()
    with pytest.raises(Unavailable, match="has ended"):
        _ = [chunk async for chunk in api.log_file("n", "f")]


@pytest.mark.parametrize("steps", range(12))
async def test_a_connection_that_was_being_made_when_the_session_ended_is_closed(steps: int) -> None:
    """The session ends so many steps of the loop after the call began. httpx forgets what is not connected by then."""
    held, changed = set[asyncio.StreamWriter](), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            await reader.read()  # until the client hangs up
        writer.close()
        held.remove(writer)
        changed.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        api = RayApi(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", None)
        call = asyncio.create_task(api.version())
        for _ in range(steps):
            await asyncio.sleep(0)
        await api.close()
        with contextlib.suppress(Unavailable):
            await call
        async with asyncio.timeout(30):
            while held:
                changed.clear()
                await changed.wait()


async def test_absent_is_an_answer(ray: Answers, api: RayApi) -> None:
    ray.answer = (404, "Job x does not exist")
    assert await api.job("x") is None
    assert not await api.has_package("x.zip")
    await api.stop("x")
    await api.delete("x")


async def test_a_package_is_sent_as_it_is(ray: Answers, api: RayApi, tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_bytes(content := b"\x00\xff" * 400_000)
    await api.put_package("p.zip", tmp_path / "p.zip")
    method, path, headers, body = ray.asked[0]
    assert (method, path, body) == ("PUT", "/api/packages/gcs/p.zip", content)
    assert headers["content-length"] == str(len(content))


async def test_a_log_that_is_not_there_is_empty_and_an_error_is_one(ray: Answers, api: RayApi) -> None:
    ray.answer = (500, "A file is not found at: /x")
    assert [chunk async for chunk in api.log_file("node", "file")] == []
    ray.answer = (500, "GCS is down")
    with pytest.raises(Unavailable):
        await anext(aiter(api.log_file("node", "file")))
