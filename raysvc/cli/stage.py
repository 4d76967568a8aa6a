"""A platform of one's own: `raysvc up` as a child process, ended without a trace."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil

from raysvc.client.client import Client
from raysvc.client.discovery import local_server
from raysvc.errors import DataDirError, Unavailable

# Seconds. A start takes 2 to 4 s on two cores; a stop ends Ray and its jobs, which takes up to 15 s.
_START_S = 60.0
_STOP_S = 60.0
_LOOK_S = 0.1
_SHOWN_LINES = 12


class Stage:
    """Use as a context manager: leaving it ends the server and all below it, unless `keep` was called."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.log = data_dir / "up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, on_wait: Callable[[], None] = lambda: None) -> Client:
        """Start the server and return a client of it, once it serves.

        Raises DataDirError where it ends instead, Unavailable where it takes more than a minute.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        env = {name: value for name, value in os.environ.items() if name not in {"RAYSVC_URL", "RAYSVC_TOKEN"}}
        command = [sys.executable, "-m", "raysvc.cli", "up", "--port", "0", "--data-dir", str(self.data_dir)]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for us, and we end the server in order.
            self._process = subprocess.Popen(  # noqa: S603 our own program
                command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise DataDirError(f"`raysvc up` ended with exit code {self._process.returncode}:\n{self.last_words()}")
            if self._serves(self._process.pid):
                found = local_server(self.data_dir)
                return Client(found.url, found.token)
            on_wait()
            time.sleep(_LOOK_S)
        raise Unavailable(f"`raysvc up` does not serve after {_START_S:.0f} s. It said:\n{self.last_words()}")

    def _serves(self, pid: int) -> bool:
        """Return whether the server that has announced itself there is our own, and not an earlier one."""
        try:
            return bool(json.loads((self.data_dir / "server.json").read_text())["pid"] == pid)
        except FileNotFoundError:
            return False

    def last_words(self) -> str:
        """Return the last lines that the server wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:])

    def keep(self) -> None:
        """Leave the server running when the stage is left."""
        self._process = None

    def close(self) -> None:
        """End the server and everything below it; returns when nothing is left. May be repeated."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            for each in (psutil.Process(process.pid), *below):
                _kill(each)
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
