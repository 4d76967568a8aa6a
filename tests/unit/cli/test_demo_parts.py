"""The demo believes nothing: a worker must be one of ours, and a resume must have happened."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import typer

from raysvc.cli.demo import _Demo, _worker
from raysvc.cli.screen import Screen, sparkline
from raysvc.cli.stage import Stage
from raysvc.client.client import Client
from raysvc.client.model import Job


def demo(tmp_path: Path) -> _Demo:
    """Return its parts, on a screen that is stdout as it is now."""
    stage = Stage(tmp_path)
    stage.log.write_text("the server's last words\n")
    return _Demo(Screen(), stage)


def written(client: Client, resumed_from: int | None) -> Job:
    """Return a job that ended, and left this about its workers."""
    text = json.dumps({"attempt": 1, "resumed_from": resumed_from, "workers": []})
    job = client.jobs.submit(entrypoint=f"echo '{text}' > $RAYSVC_OUTPUT_DIR/workers.json; echo 'its last line'")
    return client.jobs.wait(job.id, 30)


@pytest.mark.parametrize("resumed_from", [0, 300])
def test_a_resume_from_nothing_or_from_the_future_is_none(
    tmp_path: Path, client: Client, resumed_from: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught:
        demo(tmp_path)._resume(client, written(client, resumed_from), killed_at=240)  # noqa: SLF001 the part under test
    assert caught.value.exit_code == 1
    said = capsys.readouterr().out
    assert f"resumed from step {resumed_from}, and was killed at step 240" in said
    assert "its last line" in said


def test_a_job_that_never_resumes_fails_the_demo(
    tmp_path: Path, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        demo(tmp_path)._resume(client, written(client, None), killed_at=240)  # noqa: SLF001 the part under test
    assert "did not resume" in capsys.readouterr().out


def test_a_real_resume_is_told(tmp_path: Path, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    demo(tmp_path)._resume(client, written(client, 225), killed_at=240)  # noqa: SLF001 the part under test
    assert "Resumed from the checkpoint of step 225, not from 0" in capsys.readouterr().out


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[psutil.Process]:
    """A process that looks like Ray's, below one that has this folder in its command line."""
    spawn = "import subprocess, sys; subprocess.run(['ray::TrainWorker', '60'], executable='/bin/sleep')"
    with subprocess.Popen([sys.executable, "-c", spawn, str(tmp_path)]) as parent:
        process = psutil.Process(parent.pid)
        while not (children := process.children()) or children[0].cmdline()[0] != "ray::TrainWorker":
            assert process.is_running()
        yield children[0]
        with suppress(psutil.NoSuchProcess):
            children[0].kill()


def test_only_a_ray_worker_below_our_own_ray_may_be_killed(tmp_path: Path, worker: psutil.Process) -> None:
    assert _worker(worker.pid, tmp_path) == worker
    assert _worker(worker.pid, tmp_path / "another") is None
    assert _worker(worker.ppid(), tmp_path) is None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert _worker(ended.pid, tmp_path) is None


def test_without_a_terminal_the_same_line_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen() as screen:
        for _ in range(100):
            screen.busy("starting")
        screen.busy("almost there")  # too soon after the last
        screen.idle()
        screen.busy("almost there")
    assert capsys.readouterr().out.split("\n") == ["          starting", "          almost there", ""]


def test_a_sparkline_goes_from_high_to_low() -> None:
    assert sparkline([]) == ""
    assert sparkline([3.0]) == "▁"
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"
    assert len(sparkline([float(n) for n in range(1000)])) == 40


def test_a_stage_whose_server_ends_says_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "layout").write_text("999\n")
    with Stage(tmp_path / "data") as stage, pytest.raises(Exception, match="newer raysvc"):
        stage.start()
