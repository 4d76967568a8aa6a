"""A Ray that somebody else runs, of several nodes on this machine, to be killed and cut up."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

from raysvc.backends.local.head import free_port

from .platform_process import eventually

START_S = 90.0
# A node that does not answer counts as dead after about 3 s, where Ray alone would wait for half a minute.
_HEALTH = {"initial_delay_ms": "500", "period_ms": "500", "timeout_ms": "1000", "failure_threshold": "3"}
# Several nodes on one machine: each takes the ports that are free.
_PORTS = (
    *("node-manager-port", "object-manager-port", "min-worker-port", "max-worker-port", "metrics-export-port"),
    *("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port"),
)


class GivenRay:
    """Starts a head at a port that stays. Each node is a group of processes of its own."""

    def __init__(self) -> None:
        # A short path: those of Ray's sockets have at most 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="rg"))
        self._gcs, self._dashboard = free_port(), free_port()
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.url = f"http://127.0.0.1:{self._dashboard}"

    def start(self) -> None:
        """Start the head, and wait until it has a node."""
        self._start(
            "--head", f"--port={self._gcs}", f"--dashboard-port={self._dashboard}", f"--temp-dir={self._folder}"
        )
        eventually(lambda: self.nodes() == 1, START_S)

    def join(self) -> psutil.Process:
        """Start a node that has something special, `far`; return its raylet."""
        before = self.nodes()
        node = self._start(f"--address=127.0.0.1:{self._gcs}", '--resources={"far": 1}')
        eventually(lambda: self.nodes() > before, START_S)
        [raylet] = [p for p in psutil.Process(node.pid).children(recursive=True) if p.name() == "raylet"]
        return raylet

    def nodes(self) -> int:
        """Return how many nodes are alive; none while Ray does not answer."""
        with suppress(httpx.HTTPError, ValueError, KeyError, TypeError):
            rows = httpx.get(f"{self.url}/api/v0/nodes", timeout=5).json()["data"]["result"]["result"]
            return sum(row["state"] == "ALIVE" for row in rows)
        return 0

    def kill(self) -> None:
        """Kill every process of every node."""
        below = [p for node in self._nodes for p in psutil.Process(node.pid).children(recursive=True)]
        for node in self._nodes:
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()
        for process in below:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(below, 10)
        self._nodes = []

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        environment = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "RAYSVC_"))}
        environment |= {f"RAY_health_check_{name}": value for name, value in _HEALTH.items()}
        command = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--block", "--disable-usage-stats", "--num-cpus=2"),
            *("--object-store-memory=100000000", *(f"--{name}=0" for name in _PORTS), *options),
        ]
        with (self._folder / "start.log").open("ab") as log:
            node = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self._nodes.append(node)
        return node
