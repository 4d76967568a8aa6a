"""`raysvc up` as people run it: the server, its Ray, our CLI, Ray's own CLI by `raysvc://`, and a clean end."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from raysvc.client.discovery import local_server

pytestmark = pytest.mark.ray

RAYSVC = (sys.executable, "-m", "raysvc.cli")
READY_S = 180.0
STOP_S = 120.0


@dataclass
class Up:
    folder: Path
    process: subprocess.Popen[str]

    @property
    def said(self) -> str:
        return (self.folder.parent / "up.out").read_text()

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a program as somebody on this machine who has set nothing but the data directory."""
        done = subprocess.run(words, env=environment(self.folder), capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def raysvc(self, *words: str, code: int = 0) -> str:
        return self.run(*RAYSVC, *words, code=code).stdout

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "RAYSVC_DATA_DIR": str(folder)}


def start(folder: Path, *options: str) -> Up:
    """Start a server and return once it has announced itself."""
    with (folder.parent / "up.out").open("w") as out, (folder.parent / "up.err").open("w") as log:
        process = subprocess.Popen(
            [*RAYSVC, "up", "--port", "0", *options], env=environment(folder), stdout=out, stderr=log, text=True
        )
    up = Up(folder, process)
    deadline = time.monotonic() + READY_S
    while not (folder / "server.json").exists():
        assert process.poll() is None, (folder.parent / "up.err").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return up


def left_over(folder: Path) -> list[str]:
    """Return the command lines of processes that still belong to a data directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line and process.pid != os.getpid():
            found.append(line)
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    # Ray's sockets need a short path, and its jobs' user a folder that it may enter.
    folder = tmp_path_factory.mktemp("up") / "data"
    started = start(folder)
    yield started
    if started.process.poll() is None:
        started.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_it_says_where_it_is_and_not_what_the_token_is(up: Up) -> None:
    announced = json.loads((up.folder / "server.json").read_text())
    assert announced["pid"] == up.process.pid
    token = (up.folder / "admin-token").read_text().strip()
    for place in (announced["url"], f"{announced['url']}/docs", announced["dashboard_url"], "admin-token"):
        assert place in up.said
    assert token not in up.said
    assert stat.S_IMODE(up.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((up.folder / "admin-token").stat().st_mode) == 0o600
    assert local_server(up.folder).token == token


def test_a_job_of_a_local_folder_runs_from_submit_to_artifact(up: Up, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(
        "import os, pathlib\n"
        "print('attempt', os.environ['RAYSVC_ATTEMPT'])\n"
        "pathlib.Path(os.environ['RAYSVC_OUTPUT_DIR'], 'result.txt').write_text('42')\n"
    )
    (tmp_path / "job.yaml").write_text("entrypoint: python train.py\nruntime_env: {working_dir: code}\n")
    job_id = up.raysvc("job", "submit", "-o", "id", "--wait", str(tmp_path / "job.yaml")).strip()
    assert "attempt 1\n" in up.raysvc("job", "logs", job_id)
    assert up.raysvc("job", "artifacts", job_id, "get", "result.txt", "--to", "-") == "42"
    job = json.loads(up.raysvc("job", "get", job_id, "-o", "json"))
    assert (job["phase"], job["attempt"], job["owner"]) == ("SUCCEEDED", 1, "admin")
    cluster = json.loads(up.raysvc("cluster", "get", "-o", "json"))
    assert cluster["phase"] == "READY"
    assert cluster["free_memory"] > 0
    assert "✓ Cluster" in up.raysvc("doctor")


def test_a_failed_job_is_exit_1(up: Up) -> None:
    up.raysvc("job", "submit", "--follow", "--", "exit 3", code=1)
    up.raysvc("job", "submit", "--wait", "--", "no-such-program-here", code=1)


def test_rays_own_cli_takes_raysvc_as_an_address(up: Up) -> None:
    ray = str(Path(sys.executable).with_name("ray"))
    done = up.run(ray, "job", "submit", "--address", "raysvc://default", "--", "echo", "by-the-hook")
    assert "by-the-hook\n" in done.stdout
    assert "succeeded" in done.stdout
    job_id = re.search(r"raysubmit_\w+", done.stdout)
    assert job_id is not None
    assert job_id[0] in up.raysvc("job", "list", "-o", "id")


def test_a_second_server_is_refused_its_directory(up: Up) -> None:
    done = up.run(*RAYSVC, "up", "--port", "0", code=3)
    assert f"held by a live server (pid {up.process.pid})" in done.stderr
    assert (up.folder / "server.json").exists()


def test_a_port_in_use_is_named(up: Up, tmp_path: Path) -> None:
    assert up.process.poll() is None
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*RAYSVC, "up", "--port", port, "--data-dir", str(tmp_path / "d")],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert port in done.stderr
    assert not (tmp_path / "d" / "server.json").exists()


def test_plain_http_beyond_loopback_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [*RAYSVC, "up", "--host", "0.0.0.0", "--data-dir", str(tmp_path / "d")],  # noqa: S104 it is refused
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "--insecure" in done.stderr


def test_a_stop_leaves_no_process_and_no_announcement(up: Up) -> None:
    """Last: it ends the server that the others use."""
    up.raysvc("job", "submit", "--", "sleep 600")
    assert up.stop(signal.SIGINT) == 0
    assert not (up.folder / "server.json").exists()
    assert left_over(up.folder) == []
    assert "No raysvc server runs here" in up.run(*RAYSVC, "job", "list", code=5).stderr
