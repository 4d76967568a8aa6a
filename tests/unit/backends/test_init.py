"""The first process of a head, run as it is: `python init.py … -- COMMAND`."""

import os
import pwd
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import raysvc.backends.local

INIT = Path(raysvc.backends.local.__file__).with_name("init.py")
AS_ROOT = os.geteuid() == 0
for_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")


def init(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-I", str(INIT), *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(init(*arguments), capture_output=True, text=True, check=False, timeout=120)


def having(word: str) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline", "status"])
    return [p for p in found if word in (p.info["cmdline"] or ()) and p.info["status"] != psutil.STATUS_ZOMBIE]


def within(seconds: float, condition: object) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def span() -> Iterator[str]:
    """Return a number of seconds to sleep that no other process sleeps; nobody may sleep it at the end."""
    seconds = str(secrets.randbelow(10**9) + 10**6)
    yield seconds
    assert within(60, lambda: not having(seconds))


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
def test_the_commands_end_is_its_own(command: str, code: int) -> None:
    assert run("--", "sh", "-c", command).returncode == code


def test_a_command_that_is_not_there_is_said() -> None:
    done = run("--", "/no/such/program")
    assert done.returncode == 127
    assert "/no/such/program: " in done.stderr


@on_linux
def test_no_orphan_survives_the_command(span: str) -> None:
    """Not one in a session of its own, nor one without our environment, nor their children."""
    hide = f"(setsid env -i sh -c 'sleep {span} & sleep {span}' &) ; (sleep {span} &)"
    began = time.monotonic()
    assert run("--", "sh", "-c", f"{hide}; exit 3").returncode == 3
    assert time.monotonic() - began < 60
    assert not having(span)


@on_linux
def test_sigterm_reaches_all_and_sigkill_follows(span: str, tmp_path: Path) -> None:
    script = f"trap 'echo told > {tmp_path}/told' TERM; (trap '' TERM; sleep {span}) & while :; do sleep 0.05; done"
    with subprocess.Popen(init("--", "sh", "-c", script)) as process:
        assert within(60, lambda: having(span))
        process.terminate()
        assert process.wait(60) == 137
    assert (tmp_path / "told").exists()


@on_linux
def test_in_the_background_it_is_found_by_its_id_and_outlives_its_parent(span: str, tmp_path: Path) -> None:
    word = secrets.token_hex(8)
    started = run("--id", word, "--detach", tmp_path / "log", "--", "sh", "-c", f"echo hello; sleep {span}")
    assert started.returncode == 0
    (first, *_) = having(word)
    assert os.getsid(first.pid) == first.pid
    assert within(60, lambda: (tmp_path / "log").read_text() == "hello\n")
    first.terminate()
    assert within(60, lambda: not having(word))


@on_linux
def test_killed_outright_it_takes_the_command_along(span: str, tmp_path: Path) -> None:
    word = secrets.token_hex(8)
    run("--id", word, "--detach", tmp_path / "log", "--", "sleep", span)
    assert within(60, lambda: having(span))
    having(word)[0].kill()


@on_linux
def test_the_command_gains_no_privileges_and_shares_no_files() -> None:
    done = run("--", "sh", "-c", "grep NoNewPrivs /proc/self/status; umask")
    assert done.stdout.split() == ["NoNewPrivs:", "1", "0077"]


@for_root
def test_the_command_runs_as_the_user_and_its_groups() -> None:
    nobody = pwd.getpwnam("nobody")
    done = run("--user", "nobody", "--", "sh", "-c", "id -u; id -g; id -G")
    assert done.stdout.split()[:2] == [str(nobody.pw_uid), str(nobody.pw_gid)]
    assert "0" not in done.stdout.split()[2:]


@for_root
def test_what_is_exposed_is_reachable_and_nothing_beside_it(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    shown = closed / "deep" / "shown"
    shown.mkdir(parents=True)
    closed.chmod(0o700)
    (shown / "file").write_text("shown")
    (closed / "secret").write_text("hidden")
    read = ("cat", str(shown / "file"), str(closed / "secret"))
    assert run("--user", "nobody", "--", *read).stdout == ""
    done = run("--user", "nobody", "--expose", shown, "--", *read)
    if "unshare" in done.stderr:
        pytest.skip("mount namespaces are not allowed here")
    assert done.stdout == "shown"
    assert "secret: No such file" in done.stderr
    listed = run("--user", "nobody", "--expose", shown, "--", "find", str(closed)).stdout.split()
    assert listed == [str(closed), str(closed / "deep"), str(shown), str(shown / "file")]
    assert (closed / "secret").read_text() == "hidden"


def test_signals_while_it_waits_do_not_end_it(span: str) -> None:
    with subprocess.Popen(init("--", "sleep", span)) as process:
        assert within(60, lambda: having(span))
        process.send_signal(signal.SIGCHLD)
        assert process.poll() is None
        process.terminate()


@on_linux
def test_what_follows_its_parent_ends_with_it_and_all_below(span: str) -> None:
    deaf = f"trap '' TERM; setsid sleep {span} & sleep {span}; sleep {span}"
    command = shlex.join(init("--follow", "--", "sh", "-c", deaf))
    with subprocess.Popen(["sh", "-c", f"{command}; exit $?"], start_new_session=True) as shell:
        assert within(60, lambda: len(having(span)) >= 2)
        os.killpg(shell.pid, signal.SIGKILL)  # as Ray's own watcher does
        assert within(60, lambda: not having(span))
