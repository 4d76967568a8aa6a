"""A real `raysvc up` for one benchmark, in a directory of its own."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 60.0


@dataclass(frozen=True)
class Server:
    url: str
    token: str
    pid: int
    data_dir: Path


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """Serve until the block ends; raises RuntimeError with the server's log where it does not come up."""
    with tempfile.TemporaryDirectory(prefix="raysvc-bench-") as folder:
        data_dir = Path(folder) / "data"
        log = Path(folder) / "log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "raysvc.cli", "up", "--data-dir", str(data_dir), "--port", "0", *options]
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            announced = data_dir / "server.json"
            deadline = time.monotonic() + START_S
            while not announced.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"raysvc up did not come up:\n{log.read_text()}")
                time.sleep(0.05)
            server = json.loads(announced.read_text())
            yield Server(server["url"], (data_dir / "admin-token").read_text().strip(), server["pid"], data_dir)
        finally:
            process.terminate()
            process.wait(60)
