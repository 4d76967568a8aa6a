"""`raysvc up --kube` with Ray's unmodified client: what a user sees. A killed server loses and doubles nothing."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysvc.domain.job import JobPhase
from tests.kube.server import KubeServer

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
