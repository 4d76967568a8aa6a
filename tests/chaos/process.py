"""A server as a process: the same command on the same data directory, again and again."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

import raysvc
from raysvc.client.discovery import Server, local_server
from tests.chaos.failpoint import VARIABLE

T = TypeVar("T")
# Safety nets for a machine that does much else. The 10 s that a failover may take are added up in `test_handover`;
# here its processes may have to wait for the processor.
START_S = 180.0
WORK_S = 180.0
FAILOVER_S = 30.0


def lasting_port() -> int:
    """Return a free port that stays so while its server is down: below those that the system hands out (32768 on)."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """Its port is its own from the first start on. `settings` are those of `raysvc.settings`."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        self.data_dir = data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self.port = lasting_port()
        self.settings = {"data_dir": str(data_dir), "port": self.port, "max_running_jobs": 4, **settings}
        self.variables: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "never started"
        return self._process.pid

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.chaos.server", json.dumps(self.settings)]

    def start(self, point: str = "") -> None:
        environment = {**self._environment(), VARIABLE: point}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), env=environment, stdout=log, stderr=log)

    def wait_ready(self) -> Server:
        """Return where it serves, once it does."""
        announced = self.data_dir / "server.json"
        self.until(lambda: announced.exists() and f'"pid": {self.pid}' in announced.read_text(), "serve", START_S)
        return local_server(self.data_dir)

    def client(self) -> raysvc.Client:
        server = self.wait_ready()
        return raysvc.Client(server.url, server.token)

    def refusal(self) -> str:
        """Return what it says when it does not start."""
        told = subprocess.run(
            self.command(), env=self._environment(), check=False, capture_output=True, text=True, timeout=START_S
        )
        assert told.returncode != 0, told.stderr
        return told.stderr

    def role(self) -> str | None:
        """Return what it says it is: leader or standby; None where it says nothing."""
        with contextlib.suppress(httpx.HTTPError):
            role: str | None = httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=1.0).json().get("role")
            return role
        return None

    def until(self, look: Callable[[], T], what: str, seconds: float, *, every_s: float = 0.02) -> T:
        """Return what `look` returns as soon as that is true; fails, with the end of the server's log, after that."""
        deadline = time.monotonic() + seconds
        while not (seen := look()):
            assert self._process is not None
            assert self._process.poll() is None, self._said(f"ended and was to {what}")
            assert time.monotonic() < deadline, self._said(f"did not {what} within {seconds:g} s")
            time.sleep(every_s)
        return seen

    def takes_over(self) -> None:
        """Wait until it leads, for as long as a failover may take."""
        self.until(lambda: self.role() == "leader", "take over", FAILOVER_S)

    def works(self, attempts: int = 3) -> None:
        """Wait until it knows of so many more attempts begun."""
        with self.client() as client:
            began = _attempts(client)
            self.until(lambda: _attempts(client) >= began + attempts, "start jobs", WORK_S, every_s=0.2)

    def dies(self, seconds: float) -> bool:
        """Return whether it killed itself within so many seconds; otherwise it is killed now."""
        assert self._process is not None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        assert code == -signal.SIGKILL, self._said(f"ended with {code}")
        return True

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop it in the midst of a transaction, as a hypervisor may: all that it holds, it goes on holding."""
        os.kill(self.pid, signal.SIGUSR1)
        self.until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED, "stop", FAILOVER_S)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it, and its own Ray, as on SIGTERM. May be repeated."""
        if self._process is not None and self._process.poll() is None:
            self.wake()
            self._process.terminate()
            self._process.wait(START_S)

    def end(self) -> None:
        """Leave nothing behind, whatever state it is in: a Ray of its own is adopted once more, and ended."""
        if self._process is not None and self._process.poll() is not None and "ray_address" not in self.settings:
            self.start()
            self.wait_ready()
        self.stop()

    def _environment(self) -> dict[str, str]:
        return {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "RAYSVC_"))} | self.variables

    def _said(self, what: str) -> str:
        return f"The server {what}:\n{self.log.read_text(errors='replace')[-3000:]}"


def _attempts(client: raysvc.Client) -> int:
    return sum(job.attempt for job in client.jobs.list())
