"""A small real HTTP server that answers as it is told, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """`drop`: read the request, and cut the connection after `body` instead of answering in full."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    drop: bool = False


@dataclass
class Scripted:
    """Gives its answers one after the other, and the last for ever."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def drops(self, body: bytes = b"", **headers: str) -> Answer:
        """An answer that breaks off: before it begins, or after `body`."""
        return Answer(body=body, headers=headers, drop=True)

    def problem(self, status: int, **fields: Any) -> Answer:
        body = json.dumps({"status": status, **fields}).encode()
        return Answer(status, body, {"Content-Type": "application/problem+json"})

    def raw(self, body: bytes, status: int = 200, **headers: str) -> Answer:
        return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def says(self, *answers: Answer | dict[str, Any]) -> None:
        self.answers = [a if isinstance(a, Answer) else Answer(body=json.dumps(a).encode()) for a in answers]


@pytest.fixture
def server() -> Iterator[Scripted]:
    found: list[Scripted] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = found[0].answer(Asked(self.command, self.path, headers, body))
            if answer.drop and not answer.body:
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.drop:
                self.send_header("Content-Length", str(len(answer.body) + 1000))
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815 http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the name it has
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.append(Scripted(f"http://127.0.0.1:{http.server_address[1]}"))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found[0]
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def naps() -> list[float]:
    """Seconds that the client under test would have slept."""
    return []


JOB: dict[str, Any] = {
    "id": "raysubmit_1",
    "uid": "0123456789abcdef",
    "project": "default",
    "name": "raysubmit_1",
    "phase": "QUEUED",
    "reason": {"code": "WAITING", "title": "Waiting in the queue", "message": ""},
    "attempt": 0,
    "attempts": [],
    "spec": {"entrypoint": "true"},
    "owner": "admin",
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
    "cluster": None,
    "stop_requested": False,
    "position": 1,
    "progress": None,
}


@pytest.fixture
def job_json() -> Callable[..., dict[str, Any]]:
    """Make a job's JSON as the API has it."""
    return lambda **changes: {**JOB, **changes}
