"""The local server is found by its file, and its token goes to nobody else."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from raysvc.client.discovery import find_server, local_server, project_of
from raysvc.errors import Unavailable


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that this very process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def serve_from(folder: Path, *, pid: int, port: int) -> None:
    (folder / "admin-token").write_text("raysvc_secret\n")
    (folder / "admin-token").chmod(0o600)
    said = {"url": f"http://127.0.0.1:{port}/", "pid": pid, "dashboard_url": "http://127.0.0.1:1"}
    (folder / "server.json").write_text(json.dumps(said))
    (folder / "server.json").chmod(0o600)


def test_a_server_of_ours_that_listens_is_found_with_its_token(tmp_path: Path, listener: int) -> None:
    serve_from(tmp_path, pid=os.getpid(), port=listener)
    found = local_server(tmp_path)
    assert (found.url, found.token) == (f"http://127.0.0.1:{listener}", "raysvc_secret")
    assert found.base_of("team-a") == f"http://127.0.0.1:{listener}/p/team-a"
    assert "raysvc_secret" not in repr(found)


def test_a_dead_servers_file_is_stale_even_if_somebody_took_its_port(tmp_path: Path, listener: int) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    serve_from(tmp_path, pid=ended.pid, port=listener)
    with pytest.raises(Unavailable, match=rf"left over: its server \(pid {ended.pid}\) has ended.*raysvc up"):
        local_server(tmp_path)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_pid_that_is_another_process_now_is_stale(
    tmp_path: Path, listener: int, sleeper: subprocess.Popen[bytes]
) -> None:
    serve_from(tmp_path, pid=sleeper.pid, port=listener)
    with pytest.raises(Unavailable, match=r"does not serve http.*the token is not sent"):
        local_server(tmp_path)


def test_behind_an_ingress_a_process_younger_than_the_file_is_stale(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    serve_from(tmp_path, pid=sleeper.pid, port=1)
    said = {"url": "https://ray.example.com", "pid": sleeper.pid}
    (tmp_path / "server.json").write_text(json.dumps(said))
    assert local_server(tmp_path).url == "https://ray.example.com"
    born = psutil.Process(sleeper.pid).create_time()
    os.utime(tmp_path / "server.json", (born - 60, born - 60))
    with pytest.raises(Unavailable, match="left over"):
        local_server(tmp_path)


def test_another_users_process_is_not_ours(tmp_path: Path, listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_from(tmp_path, pid=1 if os.geteuid() else os.getpid(), port=listener)
    if os.geteuid() == 0:  # as root, every process is readable: let this one be somebody else's
        uids = psutil.Process().uids()
        monkeypatch.setattr(psutil.Process, "uids", lambda _: uids._replace(effective=12345))
    with pytest.raises(Unavailable, match="another user's process now"):
        local_server(tmp_path)


def test_another_users_file_is_not_trusted(tmp_path: Path, listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_from(tmp_path, pid=os.getpid(), port=listener)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(Unavailable, match="belongs to another user"):
        local_server(tmp_path)


@pytest.mark.parametrize(("name", "mode"), [("server.json", 0o620), ("admin-token", 0o644)])
def test_files_that_others_could_change_or_read_are_not_used(
    tmp_path: Path, listener: int, name: str, mode: int
) -> None:
    serve_from(tmp_path, pid=os.getpid(), port=listener)
    (tmp_path / name).chmod(mode)
    with pytest.raises(Unavailable, match=r"chmod 600"):
        local_server(tmp_path)
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


def test_no_server_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"No raysvc server runs here.*raysvc up"):
        local_server(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "http://h"}', '{"url": "ftp://h", "pid": 1}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(Unavailable):
        local_server(tmp_path)


def test_with_a_url_given_the_local_files_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSVC_DATA_DIR", str(tmp_path))
    serve_from(tmp_path, pid=os.getpid(), port=1)
    found = find_server({"RAYSVC_URL": "https://ray.example.com/"})
    assert (found.url, found.token) == ("https://ray.example.com", None)
    assert find_server({"RAYSVC_URL": "http://h", "RAYSVC_TOKEN": "t"}).token == "t"


def test_a_token_given_wins_over_the_admins(tmp_path: Path, listener: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSVC_DATA_DIR", str(tmp_path))
    serve_from(tmp_path, pid=os.getpid(), port=listener)
    assert find_server({"RAYSVC_TOKEN": "mine"}).token == "mine"
    assert find_server({}).token == "raysvc_secret"


@pytest.mark.parametrize("url", ["127.0.0.1:8500", "ftp://h", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Unavailable, match="not the URL of a server"):
        find_server({"RAYSVC_URL": url})


def test_the_project_is_the_environments_or_default() -> None:
    assert project_of({}) == "default"
    assert project_of({"RAYSVC_PROJECT": "team-a"}) == "team-a"
