"""`raysvc job`, against the real API."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from raysvc.cli.app import app
from raysvc.client.client import Client
from raysvc.domain.job import JobPhase

Run = Callable[..., Result]


def submit(run: Run, *words: str, code: int = 0) -> str:
    """Submit with `-o id`, check that the id stands alone on stdout, and return it."""
    out = run("job", "submit", "-o", "id", *words, code=code).stdout
    assert re.fullmatch(r"\S+\n", out)
    return out.strip()


def test_submit_prints_the_id_alone_and_wait_waits(run: Run, client: Client) -> None:
    job_id = submit(run, "--name", "hello", "--wait", "--", "echo", "hi there")
    job = client.jobs.get(job_id)
    assert (job.phase, job.name, job.spec.entrypoint) == (JobPhase.SUCCEEDED, "hello", "echo 'hi there'")
    assert run("job", "logs", job_id).stdout == "hi there\n"


def test_one_word_behind_the_dashes_is_a_line_for_the_shell(run: Run, client: Client) -> None:
    assert client.jobs.get(submit(run, "--", "echo $HOME && true")).spec.entrypoint == "echo $HOME && true"


def test_options_behind_the_dashes_belong_to_the_command(run: Run, client: Client) -> None:
    job = client.jobs.get(submit(run, "--", "echo", "--name", "x", "-o", "json"))
    assert job.spec.entrypoint == "echo --name x -o json"


def test_every_option_reaches_the_spec(run: Run, client: Client, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    run("secret", "set", "HF_TOKEN", input="hf_1\n")
    options = (
        "--id my-id --name n --cpus 2 --gpus 1 --memory 512MiB --priority 5 --queue q --timeout 90m --retries 2 "
        "--label a=b --label c=d=e --secret TOKEN=HF_TOKEN --metadata m=1 --env X=1 --env Y="
    )
    spec = client.jobs.get(submit(run, *options.split(), "--working-dir", str(tmp_path), "--", "true")).spec
    assert (spec.name, spec.priority, spec.queue, spec.timeout_s, spec.retry.user) == ("n", 5, "q", 5400.0, 2)
    assert (spec.resources.cpus, spec.resources.gpus, spec.resources.memory) == (2, 1, 512 << 20)
    assert spec.labels == {"a": "b", "c": "d=e"}
    assert spec.secrets == {"TOKEN": "HF_TOKEN"}
    assert spec.metadata == {"m": "1"}
    assert spec.runtime_env["env_vars"] == {"X": "1", "Y": ""}
    assert spec.runtime_env["working_dir"].startswith("gcs://_ray_pkg_")
    run("job", "stop", "my-id")


def test_options_win_over_the_file_and_its_paths_start_at_the_file(run: Run, client: Client, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("")
    spec = {
        "entrypoint": "true",
        "name": "of-the-file",
        "priority": 3,
        "labels": {"a": "1"},
        "runtime_env": {"working_dir": "code"},
    }
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(spec))
    job = client.jobs.get(submit(run, str(file), "--name", "mine", "--label", "b=2"))
    assert (job.name, job.spec.priority, job.spec.labels) == ("mine", 3, {"a": "1", "b": "2"})
    assert job.spec.runtime_env["working_dir"].startswith("gcs://")


def test_a_failed_job_is_exit_1_and_says_why(run: Run) -> None:
    result = run("job", "submit", "--wait", "--", "exit 3", code=1)
    assert "failed" in result.stderr
    assert "raysvc job explain" in result.stderr
    job_id = submit(run, "--wait", "--", "false", code=1)
    assert run("job", "wait", job_id, code=1).stdout == ""
    explained = run("job", "explain", job_id).stdout
    assert "The entrypoint failed" in explained
    assert f"raysvc job logs {job_id}" in explained


def test_follow_prints_the_log_and_only_the_log(run: Run) -> None:
    result = run("job", "submit", "--follow", "--", "echo one; sleep 0.2; echo two")
    assert result.stdout == "one\ntwo\n"
    assert "succeeded" in result.stderr


def test_with_an_id_asked_for_the_log_goes_to_stderr(run: Run) -> None:
    result = run("job", "submit", "--follow", "-o", "id", "--", "echo one; exit 2", code=1)
    assert re.fullmatch(r"\S+\n", result.stdout)
    assert "one\n" in result.stderr


def test_json_with_wait_is_the_job_as_it_ended(run: Run) -> None:
    job = json.loads(run("job", "submit", "--wait", "-o", "json", "--", "echo x").stdout)
    fields = "id uid project name phase reason attempt attempts spec owner created_at started_at finished_at"
    assert set(fields.split()) <= set(job)
    assert (job["phase"], job["attempt"]) == ("SUCCEEDED", 1)
    assert set(job["reason"]) == {"code", "title", "message"}


def test_one_key_is_one_job_and_another_body_is_refused(run: Run) -> None:
    first = submit(run, "--idempotency-key", "once", "--", "echo a")
    assert submit(run, "--idempotency-key", "once", "--", "echo a") == first
    result = run("job", "submit", "--idempotency-key", "once", "--", "echo b", code=3)
    assert "different body" in result.stderr
    assert result.stdout == ""


def test_refusals_are_exit_3_and_name_their_rule(run: Run) -> None:
    result = run("job", "submit", "--gpus", "9", "--", "true", code=3)
    assert "few-gpus" in result.stderr
    assert "At most 8 GPUs." in result.stderr
    run("job", "submit", "--id", "taken", "--", "true")
    assert "taken" in run("job", "submit", "--id", "taken", "--", "true", code=3).stderr


def test_a_warning_of_a_policy_is_said(run: Run) -> None:
    result = run("job", "submit", "--queue", "labelled", "--", "true")
    assert "Warning: policy house, rule label-it: Label it." in result.stderr


def test_a_dry_run_shows_what_would_be_sent_and_keeps_nothing(run: Run, client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    before = [job.uid for job in client.jobs.list()]
    out = run("job", "submit", "--dry-run", "-o", "json", "--queue", "labelled", "--", "echo x")
    assert json.loads(out.stdout)["documents"][0]["body"]["entrypoint"] == "echo x"
    assert "Label it." in out.stderr
    run("job", "submit", "--dry-run", "--gpus", "9", "--", "true", code=3)
    assert [job.uid for job in client.jobs.list()] == before


def test_a_dry_run_needs_no_upload(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fresh.py").write_text("never uploaded")
    run("job", "submit", "--dry-run", "--working-dir", str(tmp_path), "--", "true")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["submit"], "a command"),
        (["submit", "--"], "a command"),
        (["submit", "nowhere.yaml"], "does not exist"),
        (["submit", "--label", "x", "--", "true"], "KEY=VALUE"),
        (["submit", "--memory", "much", "--", "true"], "not an amount of memory"),
        (["submit", "--timeout", "soon", "--", "true"], "not a length of time"),
        (["submit", "--nonsense", "--", "true"], "No such option"),
        (["get"], "Missing argument"),
        (["artifacts", "x", "get"], "To get a file"),
    ],
)
def test_wrong_usage_is_exit_2(run: Run, words: list[str], said: str) -> None:
    assert said in re.sub(r"[\s│]+", " ", run("job", *words, code=2).stderr)


@pytest.mark.parametrize("verb", ["get", "stop", "delete", "explain", "events", "logs", "wait", "artifacts"])
def test_an_unknown_job_is_exit_4(run: Run, verb: str) -> None:
    assert "Error: " in run("job", verb, "nothing-of-that-name", code=4).stderr


def test_an_unknown_project_is_exit_4(run: Run) -> None:
    assert "nowhere" in run("job", "submit", "--project", "nowhere", "--", "true", code=4).stderr


def test_no_server_is_exit_5(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYSVC_URL", "http://127.0.0.1:9")
    assert "cannot be reached" in run("job", "list", code=5).stderr
    monkeypatch.delenv("RAYSVC_URL")
    monkeypatch.setenv("RAYSVC_DATA_DIR", str(tmp_path))
    assert "raysvc up" in run("job", "list", code=5).stderr


def test_a_wrong_token_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSVC_TOKEN", "raysvc_wrong")
    assert "token" in run("job", "list", code=3).stderr


def test_the_list_filters_and_prints_in_every_form(run: Run) -> None:
    mine = submit(run, "--name", "list-me", "--label", "team=x", "--wait", "--", "true")
    other = submit(run, "--name", "not-me", "--", "true")
    table = run("job", "list", "--name", "list-").stdout
    assert mine in table
    assert other not in table
    assert run("job", "list", "--label", "team=x", "-o", "id").stdout.split() == [mine]
    assert [job["id"] for job in json.loads(run("job", "list", "--name", "list-", "-o", "json").stdout)] == [mine]
    assert yaml.safe_load(run("job", "list", "--name", "list-", "-o", "yaml").stdout)[0]["id"] == mine
    assert run("job", "list", "--phase", "failed", "--name", "list-", "-o", "id").stdout == ""
    assert len(run("job", "list", "-n", "1", "-o", "id").stdout.split()) == 1
    assert "default" in run("job", "list", "-A", "--name", "list-").stdout


def test_get_events_and_attempts(run: Run) -> None:
    job_id = submit(run, "--wait", "--", "echo x")
    details = run("job", "get", job_id).stdout
    assert "SUCCEEDED" in details
    assert "1: Finished successfully on local" in details
    events = json.loads(run("job", "events", job_id, "-o", "json").stdout)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert "submitted as" in run("job", "events", job_id).stdout
    followed = run("job", "events", "-f", job_id).stdout
    assert "SUCCEEDED" in followed


def test_logs_of_the_last_lines(run: Run) -> None:
    lines = "; ".join(f"echo line {n}" for n in range(300))
    job_id = submit(run, "--wait", "--", lines)
    assert run("job", "logs", job_id, "--tail", "2").stdout == "line 298\nline 299\n"
    assert len(run("job", "logs", job_id, "--tail", "1000").stdout.splitlines()) == 300
    assert run("job", "logs", "-f", job_id).stdout.endswith("line 299\n")


def test_stop_and_delete_and_what_they_would_do(run: Run, client: Client) -> None:
    job_id = submit(run, "--", "sleep infinity")
    client.jobs.wait(job_id, 30, until=lambda job: job.phase is JobPhase.RUNNING)
    assert "already" not in run("job", "stop", "--dry-run", job_id).stdout
    assert client.jobs.get(job_id).phase is JobPhase.RUNNING
    assert "cannot be deleted" in run("job", "delete", job_id, code=3).stderr
    assert "asked to stop" in run("job", "stop", job_id).stdout
    run("job", "wait", job_id, "--timeout", "30", code=1)
    assert "already ended" in run("job", "stop", job_id).stdout
    rendered = yaml.safe_load(run("job", "delete", "--dry-run", job_id).stdout)
    assert rendered["documents"][-1]["method"] == "DELETE"
    run("job", "delete", job_id)
    run("job", "get", job_id, code=4)


def test_waiting_has_an_end_and_leaves_the_job(run: Run, client: Client) -> None:
    job_id = submit(run, "--", "sleep infinity")
    assert "it goes on" in run("job", "wait", job_id, "--timeout", "0.5", code=124).stderr
    assert client.jobs.get(job_id).live
    client.jobs.stop(job_id)


def test_ctrl_c_leaves_the_job_running_and_says_so(run: Run, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = submit(run, "--", "echo begun; sleep infinity")
    client.jobs.wait(job_id, 30, until=lambda job: job.phase is JobPhase.RUNNING)
    real = threading.Event()

    def interrupted(*_: object, **__: object) -> None:
        real.set()
        raise KeyboardInterrupt

    monkeypatch.setattr("raysvc.cli.watch._wait", interrupted)
    result = run("job", "logs", "-f", job_id, code=130)
    assert real.is_set()
    assert f"job {job_id} goes on" in result.stderr
    assert client.jobs.get(job_id).phase is JobPhase.RUNNING
    client.jobs.stop(job_id)


def test_artifacts_are_listed_and_fetched(run: Run, tmp_path: Path) -> None:
    job_id = submit(run, "--wait", "--", "echo done > $RAYSVC_OUTPUT_DIR/result.txt")
    assert "result.txt" in run("job", "artifacts", job_id).stdout
    assert run("job", "artifacts", job_id, "-o", "id").stdout == "result.txt\n"
    target = tmp_path / "r.txt"
    assert run("job", "artifacts", job_id, "get", "result.txt", "--to", str(target)).stdout.strip() == str(target)
    assert target.read_text() == "done\n"
    assert run("job", "artifacts", job_id, "get", "result.txt", "--to", "-").stdout == "done\n"
    assert "no artifact" in run("job", "artifacts", job_id, "get", "other", code=4).stderr


def test_the_shell_completes_ids_of_jobs(run: Run) -> None:
    first, second = (
        submit(run, "--id", "complete-me-1", "--", "true"),
        submit(run, "--id", "complete-me-2", "--", "true"),
    )
    words = {"_RAYSVC_COMPLETE": "complete_bash", "COMP_WORDS": "raysvc job get complete-me", "COMP_CWORD": "3"}
    done = CliRunner().invoke(app, prog_name="raysvc", env=words)
    assert set(done.stdout.split()) == {first, second}
