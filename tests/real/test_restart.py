"""Accepted means kept: the server is killed, Ray is killed, and every job still ends in its true state."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from raysvc.domain.job import JobPhase

from .platform_process import PlatformProcess, eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

# Says which attempt it is, then runs until the file is there.
WAITS = "echo begun attempt $RAYSVC_ATTEMPT; while [ ! -e $RAYSVC_CHECKPOINT_DIR/go ]; do sleep 0.2; done; echo ended"
RUN_S = 240.0


def let_go(server: PlatformProcess, uid: str) -> None:
    (server.data_dir / "work" / "jobs" / uid / "checkpoint" / "go").touch()


def head_processes(data_dir: Path) -> list[psutil.Process]:
    """Return the raylet and GCS of this platform's own Ray: they carry the head's mark in their environment."""
    mark = json.loads((data_dir / "local" / "head.json").read_text())["id"]
    found = psutil.process_iter(["name", "environ"])  # what ends meanwhile, as those of other tests may, is left out
    named = [p for p in found if p.info["name"] in {"gcs_server", "raylet"}]
    return [process for process in named if (process.info["environ"] or {}).get("RAYSVC_HEAD") == mark]


def test_a_server_killed_while_a_job_runs_adopts_it_and_loses_none_that_waits(server: PlatformProcess) -> None:
    client = server.start()
    running = client.jobs.submit(entrypoint=WAITS, idempotency_key="once")
    client.jobs.wait(running.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
    client.admission.pause("so that one waits")
    waiting = client.jobs.submit(entrypoint="echo waited")

    server.kill()
    client = server.start()

    assert client.jobs.submit(entrypoint=WAITS, idempotency_key="once").uid == running.uid
    assert client.jobs.get(running.id).phase is JobPhase.RUNNING
    let_go(server, running.uid)
    ended = client.jobs.wait(running.id, RUN_S)
    assert (ended.phase, ended.attempt) == (JobPhase.SUCCEEDED, 1)
    said = "".join(client.jobs.logs(running.id)).splitlines()
    assert (said.count("begun attempt 1"), said.count("ended")) == (1, 1)
    client.admission.resume()
    assert client.jobs.wait(waiting.id, RUN_S).phase is JobPhase.SUCCEEDED


def test_ray_killed_while_a_job_runs_is_started_again_and_the_job_retried(server: PlatformProcess) -> None:
    client = server.start()
    job = client.jobs.submit(entrypoint=WAITS)
    client.jobs.wait(job.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)

    for process in eventually(lambda: head_processes(server.data_dir), RUN_S):
        os.kill(process.pid, signal.SIGKILL)

    again = client.jobs.wait(job.id, RUN_S, until=lambda job: job.attempt == 2 and job.phase is JobPhase.RUNNING)
    assert again.attempts[0].reason is not None
    let_go(server, job.uid)
    assert client.jobs.wait(job.id, RUN_S).phase is JobPhase.SUCCEEDED
    said = "".join(client.jobs.logs(job.id)).splitlines()
    marks = [
        said.index(line) for line in ("begun attempt 1", "[raysvc] ---- attempt 2 ----", "begun attempt 2", "ended")
    ]
    assert marks == sorted(marks)
