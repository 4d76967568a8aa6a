"""`raysvc demo`, whole: a model is trained, a worker killed, the job resumed; and with --keep the platform stays."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from raysvc.client.client import Client
from raysvc.client.discovery import local_server
from raysvc.domain.job import JobPhase
from tests.real.test_cli_up import environment, left_over

pytestmark = pytest.mark.ray

RAYSVC = (sys.executable, "-m", "raysvc.cli")
# The demo promises 5 minutes on two cores; a machine that does other things meanwhile gets twice that.
DEMO_S = 600


@pytest.mark.timeout(DEMO_S + 60)
def test_the_demo_shows_what_it_says_and_keep_leaves_it_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [*RAYSVC, "demo", "--keep", "--data-dir", str(folder)],
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )
    try:
        assert done.returncode == 0, (done.stdout, done.stderr)
        resumed = re.search(r"Resumed from the checkpoint of step (\d+), not from 0", done.stdout)
        killed = re.search(r"Killed training worker \d+ \(pid (\d+)\) at step (\d+)", done.stdout)
        assert killed is not None
        assert resumed is not None
        assert 0 < int(resumed[1]) <= int(killed[2]) + 1
        with suppress(psutil.NoSuchProcess):  # its number may be somebody else's by now
            assert "ray::" not in " ".join(psutil.Process(int(killed[1])).cmdline())
        assert re.search(r"step +\d+/\d+  loss \d+\.\d+  [\d,]+ tokens/s", done.stdout)
        assert "What the model writes by now" in done.stdout
        found = local_server(folder)
        with Client(found.url, found.token) as client:
            (job,) = client.jobs.list()
            assert job.phase is JobPhase.SUCCEEDED
            assert f"/jobs/{job.id}" in done.stdout
            assert {"samples.txt", "metrics.jsonl", "model/config.json", "model/model.safetensors"} <= {
                file.path for file in client.jobs.artifacts.list(job.id)
            }
            steps = [point["step"] or 0 for point in client.jobs.metrics(job.id, limit=2000).points]
            assert steps == sorted(set(steps))
    finally:
        announced = folder / "server.json"
        if announced.exists():
            server = psutil.Process(json.loads(announced.read_text())["pid"])
            server.terminate()
            server.wait(120)
    assert left_over(folder) == []


@pytest.mark.timeout(DEMO_S)
def test_interrupted_it_takes_down_what_it_started(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with subprocess.Popen(
        [*RAYSVC, "demo", "--data-dir", str(folder)],
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "Submitted raysubmit_" in line:
                break
        os.kill(demo.pid, signal.SIGINT)
        said = demo.stdout.read()
        assert demo.wait(180) == 130, said
    assert "Interrupted: stopping the platform." in said
    assert left_over(folder) == []


def test_without_its_extra_it_says_how_to_install_it(tmp_path: Path) -> None:
    hide = (
        "import importlib.util, sys\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name in {'ray', 'torch'} else real(name, *a)\n"
        "sys.argv = ['raysvc', 'demo']\n"
        "from raysvc.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "ray, torch are not installed" in done.stderr
    assert "pip install 'raysvc[ray]'" in done.stderr
