"""A platform that was backed up while it ran goes on from there: what ended has ended, what ran is tried again."""

import subprocess
import sys
from pathlib import Path

import pytest

from raysvc.domain.job import JobPhase
from raysvc.domain.reason import ReasonCode
from raysvc.errors import RaysvcError

from .platform_process import PlatformProcess

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

WAITS = "echo begun attempt $RAYSVC_ATTEMPT; while [ ! -e $RAYSVC_CHECKPOINT_DIR/go ]; do sleep 0.2; done; echo ended"
SAID = ["begun attempt 1", "begun attempt 2", "ended"]
RUN_S = 240.0


def raysvc(*words: str | Path) -> str:
    """Run the CLI; return what it says."""
    command = [sys.executable, "-m", "raysvc.cli", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_jobs_of_a_backup_are_in_their_true_state_and_go_on(tmp_path: Path) -> None:
    old = PlatformProcess(tmp_path / "old")
    try:
        client = old.start()
        ended = client.jobs.wait(client.jobs.submit(entrypoint="echo before").id, RUN_S)
        running = client.jobs.submit(entrypoint=WAITS)
        client.jobs.wait(running.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
        client.admission.pause("a backup")
        waiting = client.jobs.submit(entrypoint="echo waited", idempotency_key="once")
        assert "3 jobs" in raysvc("backup", "--data-dir", old.data_dir, tmp_path / "backup.tar")
        later = client.jobs.submit(entrypoint="echo after the backup")
    finally:
        assert old.stop() == 0

    assert "Nothing was restored" in raysvc(
        "restore", tmp_path / "backup.tar", "--data-dir", tmp_path / "new", "--dry-run"
    )
    assert not (tmp_path / "new").exists()
    raysvc("restore", tmp_path / "backup.tar", "--data-dir", tmp_path / "new")

    new = PlatformProcess(tmp_path / "new")
    try:
        client = new.start()
        assert client.jobs.get(ended.id).attempts == ended.attempts
        assert "before\n" in "".join(client.jobs.logs(ended.id))
        with pytest.raises(RaysvcError):
            client.jobs.get(later.id)
        lost = client.jobs.wait(running.id, RUN_S, until=lambda job: job.phase is JobPhase.QUEUED)
        assert lost.attempts[0].reason is not None
        assert lost.attempts[0].reason.code is ReasonCode.CLUSTER_LOST
        assert client.jobs.submit(entrypoint="echo waited", idempotency_key="once").uid == waiting.uid
        client.admission.resume()
        again = client.jobs.wait(running.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
        assert again.attempt == 2
        (new.data_dir / "work" / "jobs" / running.uid / "checkpoint" / "go").touch()
        assert client.jobs.wait(running.id, RUN_S).phase is JobPhase.SUCCEEDED
        assert client.jobs.wait(waiting.id, RUN_S).phase is JobPhase.SUCCEEDED
        said = "".join(client.jobs.logs(running.id)).splitlines()
        assert [line for line in said if line in SAID] == SAID
    finally:
        new.stop()
