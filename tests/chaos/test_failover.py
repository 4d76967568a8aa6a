"""Two servers that share a database, a Ray and a directory of keys and blobs, and nothing else.

The one that leads is killed, and then another one stopped in the midst of its work and let go on: the other takes over,
nothing is lost, nothing runs twice, and the one that wakes up does nothing more.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import evidence
from tests.chaos.check import check
from tests.chaos.evidence import Scene
from tests.chaos.process import FAILOVER_S, START_S, ServerProcess
from tests.chaos.ray_head import RayHead
from tests.chaos.workload import Workload

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

SETTLE_S = 180.0


class Pair:
    """Two servers, of which one leads."""

    def __init__(self, folder: Path, **settings: str) -> None:
        shared = {"shared_dir": str(folder / "shared"), **settings}
        self.servers = tuple(ServerProcess(folder / name, **shared) for name in ("a", "b"))

    def start(self) -> None:
        for server in self.servers:
            server.start()
            server.wait_ready()

    def end(self) -> None:
        for server in self.servers:
            server.end()

    def roles(self) -> tuple[ServerProcess, ServerProcess]:
        """Return (the leader, the one that stands by), as soon as they agree on it."""
        first, second = self.servers
        first.until(lambda: {first.role(), second.role()} == {"leader", "standby"}, "agree on roles", START_S)
        return (first, second) if first.role() == "leader" else (second, first)


def doctor(server: ServerProcess) -> str:
    """Return what `raysvc doctor` says of it."""
    found = server.wait_ready()
    environment = {**os.environ, "RAYSVC_URL": found.url, "RAYSVC_TOKEN": found.token or ""}
    command = [sys.executable, "-m", "raysvc.cli", "doctor"]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=START_S).stdout


def test_a_leader_that_dies_or_is_held_up_is_replaced(database: str, ray: RayHead, tmp_path: Path) -> None:
    pair = Pair(tmp_path, database_url=database, **ray.settings)
    try:
        pair.start()
        assert "stands by" in doctor(pair.roles()[1])
        stranger = ServerProcess(tmp_path / "stranger", database_url=database)
        assert "the same --shared-dir" in stranger.refusal()
        work = Workload([server.wait_ready() for server in pair.servers], tmp_path / "code", seed=1)
        work.start()
        try:
            leader, other = pair.roles()
            leader.works()
            leader.kill()
            other.takes_over()
            leader.start()
            leader.wait_ready()

            leader, other = pair.roles()
            leader.works()
            leader.pause()
            other.takes_over()
            other.works()
            leader.wake()
            leader.until(lambda: leader.role() == "standby", "know that it no longer leads", FAILOVER_S)
        finally:
            for server in pair.servers:
                server.wake()
            work.stop()
        scene = Scene(database, tmp_path / "shared" / "blobs", ray.folder)
        with other.client() as client:
            evidence.settle(scene, SETTLE_S)
            found = evidence.gather(scene, client)
    finally:
        pair.end()
    history = found.model_copy(update={"plans": tuple(work.known.plans), "ops": tuple(work.known.ops)})
    assert check(history) == []
