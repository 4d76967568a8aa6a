"""A server of models on a real socket: it honours ranges, or behaves as badly as a test tells it to."""

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

Answer = tuple[int, Mapping[str, str], bytes]
Behaviour = Callable[[str, Mapping[str, str]], Answer | None]
"""From a path and the request's headers to an answer; None: the file as it is."""


class Mirror(ThreadingHTTPServer):
    """Serves a folder below any path: `/x/y/config.json?q` is `config.json`. `asked` holds (path, headers)."""

    daemon_threads = True

    def __init__(self, folder: Path, behave: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.behave = behave
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.lock = Lock()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.place}"

    def handle_error(self, *_: Any) -> None:
        """A client that has read enough hangs up; that is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Mirror

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.lock:
            self.server.asked.append((self.path, headers))
        answer = self.server.behave(self.path, headers) or ranged(self.server.folder, self.path, headers)
        status, extra, body = answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def ranged(folder: Path, path: str, headers: Mapping[str, str]) -> Answer:
    """Answer as a good server does."""
    file = folder / path.partition("?")[0].rpartition("/")[2]
    if not file.is_file():
        return 404, {}, b"not here"
    size = file.stat().st_size
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", headers["range"])
    assert match is not None
    first, last = int(match[1]), min(int(match[2]), size - 1)
    if first >= size:
        return 416, {"Content-Range": f"bytes */{size}"}, b""
    with file.open("rb") as data:
        data.seek(first)
        return 206, {"Content-Range": f"bytes {first}-{last}/{size}"}, data.read(last - first + 1)


@contextmanager
def serving(
    folder: Path, behave: Behaviour = lambda _path, _headers: None, tls: ssl.SSLContext | None = None
) -> Iterator[Mirror]:
    """Serve the folder for the time of the block."""
    mirror = Mirror(folder, behave)
    if tls is not None:
        mirror.socket = tls.wrap_socket(mirror.socket, server_side=True)
    thread = Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield mirror
    finally:
        mirror.shutdown()
        thread.join()
        mirror.server_close()
