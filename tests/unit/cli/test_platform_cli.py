"""Projects, tokens, secrets, admission, clusters and policies from the command line, against the real API."""

import contextlib
import json
import os
import pty
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import Result

from raysvc.client.client import Client
from raysvc.errors import Unauthenticated

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Site

Run = Callable[..., Result]


def test_projects_are_made_changed_and_listed(run: Run, client: Client) -> None:
    shown = yaml.safe_load(run("project", "create", "team-a", "--max-gpus", "8", "--dry-run").stdout)
    limits = {"max_running_jobs": None, "max_cpus": None, "max_gpus": 8.0, "max_queued_jobs": None}
    assert shown == {"method": "POST", "path": "/v1/projects", "body": {"name": "team-a", "limits": limits}}
    assert "team-a" not in run("project", "list", "-o", "id").stdout
    run("project", "create", "team-a", "--max-gpus", "8")
    assert "already" in run("project", "create", "team-a", code=3).stderr
    run("project", "set", "team-a", "--max-running-jobs", "2")
    assert client.projects.get("team-a").limits.model_dump() == limits | {"max_running_jobs": 2}
    shown = json.loads(run("project", "set", "team-a", "--max-gpus", "none", "--dry-run", "-o", "json").stdout)
    assert (shown["method"], shown["path"], shown["body"]["max_gpus"]) == ("PUT", "/v1/projects/team-a/limits", None)
    assert client.projects.get("team-a").limits.max_gpus == 8
    run("project", "set", "team-a", "--max-gpus", "none")
    assert client.projects.get("team-a").limits.max_gpus is None
    assert "no limit" in run("project", "list").stdout
    run("project", "set", "team-a", code=2)
    run("project", "set", "team-a", "--max-gpus", "many", code=2)
    run("project", "set", "team-a", "--max-cpus=-1", code=2)
    run("project", "set", "nowhere", "--max-gpus", "1", code=4)
    assert "Error" in run("project", "create", "Team A", code=3).stderr


def test_a_token_stands_alone_on_stdout_and_works_until_revoked(run: Run, site: "Site") -> None:
    shown = yaml.safe_load(run("token", "create", "--owner", "ann", "--project", "default", "--dry-run").stdout)
    assert shown["body"] == {"role": "member", "owner": "ann", "projects": ["default"]}
    made = run("token", "create", "--owner", "ann", "--project", "default", "--expires-in", "1d")
    secret = made.stdout.strip()
    assert secret.startswith("raysvc_")
    assert "Keep it safe" in made.stderr
    with Client(site.url, secret) as ann:
        assert ann.whoami().name == "ann"
        listed = json.loads(run("token", "list", "-o", "json").stdout)
        token_id = next(token["id"] for token in listed if token["owner"] == "ann")
        assert secret not in json.dumps(listed)
        run("token", "revoke", token_id, "--dry-run")
        assert ann.whoami().role == "member"
        run("token", "revoke", token_id)
        with pytest.raises(Unauthenticated):
            ann.whoami()
    assert "revoked" in run("token", "list").stdout
    run("token", "revoke", "nothing", code=4)
    assert "Token" in run("token", "create", "--role", "admin").stderr
    assert json.loads(run("token", "list", "-o", "json").stdout)[0]["owner"] == "admin"


def test_a_member_may_not_make_tokens(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = run("token", "create", "--owner", "bob", "--project", "default").stdout.strip()
    monkeypatch.setenv("RAYSVC_TOKEN", secret)
    assert "role is member" in run("token", "create", "--owner", "eve", code=3).stderr


def test_secrets_come_from_stdin_or_a_file_and_never_back(run: Run, tmp_path: Path) -> None:
    shown = run("secret", "set", "KEY", "--dry-run", input="s3cret\n").stdout
    assert yaml.safe_load(shown)["body"] == {"value": "(not shown)"}
    run("secret", "set", "KEY", input="s3cret\n")
    (tmp_path / "value").write_text("of a file\n\n")
    run("secret", "set", "FILED", "--from-file", str(tmp_path / "value"))
    listed = run("secret", "list", "-o", "json")
    assert {"KEY", "FILED"} <= {secret["name"] for secret in json.loads(listed.stdout)}
    assert "s3cret" not in listed.output
    job_id = run("job", "submit", "-o", "id", "--wait", "--secret", "A=KEY", "--secret", "B=FILED", "--", "printenv A")
    assert run("job", "logs", job_id.stdout.strip()).stdout == "s3cret\n"
    run("secret", "delete", "KEY", "--dry-run")
    run("secret", "delete", "KEY")
    run("secret", "delete", "KEY", code=4)
    assert "raysvc secret set KEY" in run("job", "submit", "--secret", "A=KEY", "--", "true", code=3).stderr
    run("secret", "set", "KEY", input="", code=2)


def test_a_prompt_does_not_echo(site: "Site") -> None:
    control, terminal = pty.openpty()
    environment = os.environ | {"RAYSVC_URL": site.url, "RAYSVC_TOKEN": "raysvc_the-token-of-these-tests"}
    with subprocess.Popen(
        [sys.executable, "-m", "raysvc.cli", "secret", "set", "TYPED", "-o", "id"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=environment,
        start_new_session=True,
    ) as process:
        os.close(terminal)
        try:
            seen = b""
            while b"Value of TYPED: " not in seen:  # the space comes once the echo is off
                seen += os.read(control, 1024)
            os.write(control, b"typed-in\n")
            out, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    with contextlib.suppress(OSError):  # the other end is closed
        os.set_blocking(control, False)
        seen += os.read(control, 4096)
    os.close(control)
    assert out == b"TYPED\n"
    assert process.returncode == 0
    assert b"typed-in" not in seen


def test_admission_is_paused_and_resumed(run: Run) -> None:
    assert "paused" in yaml.safe_load(run("admission", "pause", "-m", "upgrade", "--dry-run").stdout)["path"] + "paused"
    assert run("admission", "status", "-o", "id").stdout == "open\n"
    try:
        assert "upgrade" in run("admission", "pause", "-m", "upgrade").stdout
        job_id = run("job", "submit", "-o", "id", "--", "true").stdout.strip()
        deadline = time.monotonic() + 60
        while "upgrade" not in run("job", "explain", job_id).stdout:  # verdicts that people read may be a second old
            assert time.monotonic() < deadline
        assert json.loads(run("admission", "status", "-o", "json").stdout) == {"paused": True, "message": "upgrade"}
    finally:
        run("admission", "resume")
    run("job", "wait", job_id)


def test_clusters_say_what_they_have(run: Run) -> None:
    assert run("cluster", "list", "-o", "id").stdout == "local\n"
    assert "4 CPU, 8.0 GiB memory" in run("cluster", "get").stdout
    assert json.loads(run("cluster", "get", "local", "-o", "json").stdout)["resources"]["cpus"] == 4
    run("cluster", "get", "mars", code=4)


def test_a_policy_is_tried_without_a_server(
    run: Run, site: "Site", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSVC_URL", "http://127.0.0.1:9")
    job = tmp_path / "job.yaml"
    job.write_text("entrypoint: python train.py\nresources: {gpus: 9}\n")
    refused = run("policy", "check", str(site.policy), "--job", str(job), code=3)
    assert "At most 8 GPUs." in refused.stdout
    assert "It would be refused." in refused.stderr
    job.write_text("entrypoint: python train.py\n")
    report = json.loads(run("policy", "check", str(site.policy), "--job", str(job), "-o", "json").stdout)
    assert (report["outcome"], [rule["matched"] for rule in report["rules"]]) == ("allow", [False, False])
    job.write_text("entrypoint: python train.py\nresources: {gpu: 9}\n")
    assert f"{job}:2: resources.gpu" in run("policy", "check", str(site.policy), "--job", str(job), code=3).stderr
    job.write_text("entrypoint: python train.py\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text("policy: p\nrules: [{name: r, when: 'job.', deny: true, message: m}]\n")
    assert "broken.yaml" in run("policy", "check", str(broken), "--job", str(job), code=3).stderr


def test_doctor_looks_at_the_server_and_says_what_to_mend(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYSVC_DATA_DIR", str(tmp_path / "data"))
    found = {line["subject"]: line for line in json.loads(run("doctor", "-o", "json").stdout)}
    for subject in ("Python", "Server", "Token", "Project", "Cluster", "Clock", "Memory", "Open files"):
        assert found[subject]["state"] in {"ok", "warn"}, found[subject]
    assert "admin of every project" in found["Token"]["detail"]
    monkeypatch.setenv("RAYSVC_TOKEN", "raysvc_wrong")
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o755)
    text = run("doctor", code=1).stdout
    assert "✗ Token" in text
    assert f"→ chmod 700 {tmp_path / 'data'}" in text
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o755
    monkeypatch.setenv("RAYSVC_URL", "http://127.0.0.1:9")
    assert "✗ Server" in run("doctor", code=1).stdout
    monkeypatch.delenv("RAYSVC_URL")
    monkeypatch.setenv("RAYSVC_DATA_DIR", str(tmp_path / "other"))
    assert "! Server" in run("doctor").stdout


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--host", "0.0.0.0"], 3, "--insecure"),  # noqa: S104 it is refused
        (["--tls-cert", __file__], 3, "go together"),
        (["--port", "70000"], 2, "65535"),
        (["--max-package-size", "much"], 2, "not an amount of memory"),
        (["--max-package-size", "0"], 3, "--max-package-bytes"),
        (["--policies", "/nowhere"], 2, "does not exist"),
    ],
)
def test_up_refuses_what_cannot_be(run: Run, tmp_path: Path, options: list[str], code: int, said: str) -> None:
    result = run("up", "--data-dir", str(tmp_path / "d"), *options, code=code)
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "d").exists()
