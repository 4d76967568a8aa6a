"""Ray 2.60's own SDK and `ray job`, unmodified, against a front that is really served."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysvc.domain.project import Role
from tests.real.ray_front import TOKEN, Front, run, started

LIFE = Path(__file__).with_name("ray_life.py")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with Front(tmp_path_factory.mktemp("front")) as served:
        yield served


def test_a_jobs_whole_life_through_the_sdk(front: Front, tmp_path: Path) -> None:
    life = run([sys.executable, str(LIFE), front.url, TOKEN, str(tmp_path / "code")], front.environment)
    assert life.returncode == 0, life.stdout
    assert ": ok" in life.stdout


def test_submit_uploads_tails_and_tells_the_end(front: Front, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print('hi')")
    options = ("--working-dir", str(tmp_path), "--metadata-json", '{"raysvc.priority": "5"}')
    more = ("--runtime-env-json", '{"env_vars": {"A": "from the environment"}}', "--entrypoint-num-cpus", "0.5")
    told = front.ray("job", "submit", *options, *more, "--", "printenv", "A")
    assert told.returncode == 0, told.stdout
    assert "Uploading package" in told.stdout
    assert "from the environment\n" in told.stdout
    assert "close code 1000" in told.stdout
    assert "succeeded" in told.stdout


def test_a_failed_job_is_exit_code_1_with_its_reason(front: Front) -> None:
    told = front.ray("job", "submit", "--", "no-such-program")
    assert told.returncode == 1
    assert "no-such-program: not found\n" in told.stdout
    assert "Status message: The entrypoint does not exist" in told.stdout


def test_a_job_is_stopped_and_deleted(front: Front) -> None:
    submit = ("job", "submit", "--no-wait", "--submission-id", "cli-1", "--")
    assert "'cli-1' submitted successfully" in front.ray(*submit, "sleep", "infinity").stdout
    again = front.ray(*submit, "true")
    assert again.returncode != 0
    assert "Please use a different submission_id." in again.stdout
    busy = front.ray("job", "delete", "cli-1")
    assert busy.returncode != 0
    assert "is in a non-terminal state" in busy.stdout
    stopped = front.ray("job", "stop", "cli-1")
    assert "was stopped" in stopped.stdout, stopped.stdout
    assert "deleted successfully" in front.ray("job", "delete", "cli-1").stdout
    gone = front.ray("job", "status", "cli-1")
    assert gone.returncode != 0
    assert "Job cli-1 does not exist" in gone.stdout


def test_logs_are_followed_while_the_job_runs_and_read_after(front: Front) -> None:
    front.submit("echo one; sleep 8; echo two", "log-1")
    followed = front.ray("job", "logs", "-f", "log-1")
    assert followed.returncode == 0
    assert "one\ntwo\n" in followed.stdout
    assert "succeeded" in followed.stdout
    assert "one\ntwo\n" in front.ray("job", "logs", "log-1").stdout


def test_headers_in_place_of_token_variables(front: Front) -> None:
    headers = json.dumps({"Authorization": f"Bearer {TOKEN}"})
    told = front.ray("job", "list", "--headers", headers, RAY_AUTH_MODE="disabled")
    assert told.returncode == 0, told.stdout
    none = front.ray("job", "list", RAY_AUTH_MODE="disabled")
    assert none.returncode != 0
    assert "No token came with this request" in none.stdout
    wrong = front.ray("job", "list", RAY_AUTH_TOKEN="nope")
    assert wrong.returncode != 0
    assert "This token is not known here" in wrong.stdout


def test_a_project_has_a_base_of_its_own(front: Front) -> None:
    base = f"{front.url}/p/team-a"
    told = front.ray("job", "submit", "--submission-id", "in-a", "--", "echo", "of-team-a", RAY_ADDRESS=base)
    assert told.returncode == 0, told.stdout
    assert "of-team-a\n" in told.stdout
    assert "Job in-a does not exist" in front.ray("job", "status", "in-a").stdout
    member = front.token(Role.MEMBER, "team-a")
    assert "in-a" in front.ray("job", "list", RAY_AUTH_TOKEN=member).stdout
    stranger = front.token(Role.MEMBER, "default")
    refused = front.ray("job", "status", "in-a", RAY_ADDRESS=base, RAY_AUTH_TOKEN=stranger)
    assert refused.returncode != 0
    assert "There is no project 'team-a' for this token." in refused.stdout


def test_a_bad_submission_is_told_in_our_words(front: Front) -> None:
    told = front.ray("job", "submit", "--metadata-json", '{"raysvc.prio": "1"}', "--", "true")
    assert told.returncode != 0
    assert "Request failed with status code 400" in told.stdout
    assert "raysvc.priority" in told.stdout


def test_a_tail_that_the_server_cuts_is_no_success(tmp_path: Path) -> None:
    with Front(tmp_path) as front:
        front.submit("echo begun; sleep infinity", "cut")
        command = [str(Path(sys.executable).with_name("ray")), "job", "logs", "-f", "cut"]
        with started(command, {**front.environment, "PYTHONUNBUFFERED": "1"}) as client:
            assert client.stdout is not None
            seen = ""
            while "begun\n" not in seen:
                line = client.stdout.readline()
                assert line, seen
                seen += line
            front.stop()
            rest = client.communicate(timeout=120)[0]
        assert client.returncode not in {0, -signal.SIGKILL}, rest
        assert "closed unexpectedly" in rest
