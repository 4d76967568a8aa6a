"""`raysvc up --kube` with Ray's unmodified client: what a user sees. A killed server loses and doubles nothing."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import raysvc
from raysvc.client.discovery import local_server
from raysvc.domain.job import JobPhase
from tests.real.platform_process import eventually

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]
RUN_S = 400.0
PROGRAM = """
import time, ray
from lib import WORD
ray.init(log_to_driver=False)
print("said", WORD, ray.get(ray.remote(lambda: 6 * 7).remote()), flush=True)
for number in range(20):
    print("step", number, flush=True)
    time.sleep(1)
"""


class KubeServer:
    def __init__(self, data_dir: Path, kubeconfig: Path, image: str) -> None:
        self.data_dir = data_dir
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYSVC_"))},
            "KUBECONFIG": str(kubeconfig),
        }
        self._image = image
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> raysvc.Client:
        options = ("--port", "0", "--data-dir", str(self.data_dir), "--ray-image", self._image)
        command = [sys.executable, "-m", "raysvc.cli", "up", "--kube", *options]
        with (self.data_dir.parent / "up.log").open("ab") as log:
            process = self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        announced = self.data_dir / "server.json"
        eventually(lambda: announced.exists() and str(process.pid) in announced.read_text(), 60)
        server = local_server(self.data_dir)
        return raysvc.Client(server.url, server.token)

    def end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)

    def ray(self, *arguments: str) -> str:
        """Run Ray's own command line against the server."""
        server = local_server(self.data_dir)
        token = {"RAY_ADDRESS": server.url, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": str(server.token)}
        command = [str(Path(sys.executable).with_name("ray")), *arguments]
        done = subprocess.run(command, env={**self._environment, **token}, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr


@pytest.fixture
def server(tmp_path: Path, kubeconfig: Path, ray_image: str) -> Iterator[KubeServer]:
    server = KubeServer(tmp_path / "data", kubeconfig, ray_image)
    yield server
    server.end(signal.SIGTERM)


def test_a_job_of_rays_own_client_outlives_two_kills_of_the_server(server: KubeServer, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").write_text(PROGRAM)
    (code / "lib.py").write_text("WORD = 'mellon'")
    with server.start() as client:
        said = server.ray("job", "submit", "--no-wait", "--working-dir", str(code), "--", "python", "train.py")
        found = re.search(r"raysubmit_\w+", said)
        assert found, said
        id_ = found[0]
        client.jobs.wait(id_, RUN_S, until=lambda job: job.reason.code == "PROVISIONING")
    server.end(signal.SIGKILL)
    with server.start() as client:
        client.jobs.wait(id_, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
    server.end(signal.SIGKILL)
    with server.start() as client:
        ended = client.jobs.wait(id_, RUN_S)
        log = "".join(client.jobs.logs(id_))
        assert (ended.phase, ended.attempt, ended.attempts[0].exit_code) == (JobPhase.SUCCEEDED, 1, 0), log
        assert [line for line in log.splitlines() if line.startswith(("said", "step"))] == [
            "said mellon 42",
            *(f"step {number}" for number in range(20)),
        ]
        client.jobs.delete(id_)
