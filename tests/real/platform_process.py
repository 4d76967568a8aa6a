"""A real `raysvc up` as a child process, to be killed and started again on the same data directory."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import raysvc
from raysvc.client.discovery import local_server

T = TypeVar("T")
START_S = 180.0
STOP_S = 120.0


class PlatformProcess:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._process: subprocess.Popen[bytes] | None = None
        self._clients = contextlib.ExitStack()

    def start(self) -> raysvc.Client:
        """Start the server and return a client of it, once it serves."""
        environment = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "RAYSVC_"))}
        command = [sys.executable, "-m", "raysvc.cli", "up", "--port", "0", "--data-dir", str(self.data_dir)]
        with (self.data_dir.parent / "up.log").open("ab") as log:
            process = self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        announced = self.data_dir / "server.json"
        eventually(lambda: announced.exists() and str(process.pid) in announced.read_text(), START_S)
        server = local_server(self.data_dir)
        return self._clients.enter_context(raysvc.Client(server.url, server.token))

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._clients.close()
        self._process.terminate()
        return self._process.wait(STOP_S)


def eventually(look: Callable[[], T], seconds: float) -> T:
    """Return what `look` returns as soon as that is true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, "not seen in time"
        time.sleep(0.1)
    return seen
