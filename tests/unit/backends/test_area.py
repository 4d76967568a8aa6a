"""The work area: who owns what, what is kept and what goes."""

import os
import pwd
import stat
import subprocess
import time
from pathlib import Path

import pytest

from raysvc.backends.local.area import PACKAGE_AGE_S, Area, Owner
from raysvc.backends.local.beneath import folder_below, open_below
from raysvc.backends.local.head import MAX_BASE, short_path
from raysvc.domain.job import JobRef

REF = JobRef(uid="0" * 16, attempt=2)
for_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def area(tmp_path: Path) -> Area:
    made = Area(tmp_path / "work")
    made.prepare()
    made.prepare()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_without_another_user_all_is_private(area: Area) -> None:
    for path in (area.root, area.ray, area.home, area.jobs, area.packages, *area.job(REF.uid)):
        assert mode(path) == 0o700


@for_root
def test_another_user_owns_the_leaves_and_nothing_above_them(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    area = Area(tmp_path / "work", Owner(nobody.pw_uid, nobody.pw_gid))
    area.prepare()
    leaves = (area.ray, area.home, area.scratch, *area.job(REF.uid))
    assert {path.stat().st_uid for path in leaves} == {nobody.pw_uid}
    assert {mode(path) for path in leaves} == {0o700}
    above = (area.root, area.jobs, area.jobs / REF.uid, area.packages)
    assert {path.stat().st_uid for path in above} == {0}
    area.write_token("t")
    secrets = area.write_secrets(REF, {"A": "1"}, None)
    assert {(path.stat().st_uid, mode(path)) for path in (area.token, secrets)} == {(nobody.pw_uid, 0o600)}


@for_root
def test_files_of_another_user_are_handed_over_but_no_link_is_followed(tmp_path: Path) -> None:
    """As where jobs ran as root before, and now as somebody else."""
    before = Area(tmp_path / "work")
    before.prepare()
    checkpoint, _ = before.job(REF.uid)
    (checkpoint / "deep").mkdir()
    (checkpoint / "deep" / "state").write_text("7")
    outside = tmp_path / "outside"
    outside.write_text("root's")
    (checkpoint / "link").symlink_to(outside)
    nobody = pwd.getpwnam("nobody")
    after = Area(tmp_path / "work", Owner(nobody.pw_uid, nobody.pw_gid))
    after.prepare()
    after.job(REF.uid)
    assert (checkpoint / "deep" / "state").stat().st_uid == nobody.pw_uid
    assert outside.stat().st_uid == 0


@pytest.mark.parametrize("value", ["plain", 'it\'s $HOME `id` \\ "x"', "two\nlines", "", "é", "-n"])
def test_bash_reads_secrets_as_they_are(area: Area, value: str) -> None:
    path = area.write_secrets(REF, {"SECRET": value}, None)
    show = 'printf %s "$SECRET"; echo; echo "${BASH_ENV-unset}"'
    done = subprocess.run(["bash", "-c", show], env={"BASH_ENV": str(path)}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{value}\nunset\n"


def test_the_users_own_bash_env_is_given_back(area: Area) -> None:
    path = area.write_secrets(REF, {"SECRET": "1"}, "/my file")
    done = subprocess.run(
        ["bash", "-c", 'echo "$BASH_ENV"'], env={"BASH_ENV": str(path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "/my file\n"


def test_secrets_go_with_their_attempt(area: Area) -> None:
    path = area.write_secrets(REF, {"SECRET": "1"}, None)
    area.forget_secrets(REF)
    area.forget_secrets(REF)
    assert not path.exists()
    assert list(path.parent.iterdir()) == []


def test_packages_nobody_asked_for_in_a_day_go(area: Area) -> None:
    draft, old = area.draft(), area.draft()
    draft.write_bytes(b"new")
    old.write_bytes(b"old")
    kept = area.place_package(draft, "new.zip")
    gone = area.place_package(old, "old.zip")
    past = time.time() - PACKAGE_AGE_S - 60
    os.utime(gone, (past, past))
    area.prune_packages()
    assert kept.exists()
    assert not gone.exists()


def test_of_old_sessions_the_last_logs_stay(area: Area) -> None:
    for day in range(1, 5):
        session = area.ray / f"session_2026-01-0{day}_00-00-00_000000_1"
        (session / "logs").mkdir(parents=True)
        (session / "logs" / "job-driver-x.log").write_text("x")
        (session / "runtime_resources").mkdir()
        (session / "sockets").symlink_to("/etc")
    (area.ray / "session_latest").symlink_to(session)
    assert area.sessions()[0] == session
    secrets = area.write_secrets(REF, {"SECRET": "1"}, None)
    area.clear()
    assert not secrets.exists()
    assert [path.name[:18] for path in area.sessions()] == ["session_2026-01-04", "session_2026-01-03"]
    for kept in area.sessions():
        assert [path.name for path in kept.iterdir()] == ["logs"]
        assert (kept / "logs" / "job-driver-x.log").exists()
    assert Path("/etc/passwd").exists()


def test_a_short_path_is_its_own_and_a_long_one_gets_a_link(tmp_path: Path) -> None:
    assert short_path(Path("/srv/raysvc/work")) == Path("/srv/raysvc/work")
    long = tmp_path / ("x" * 60)
    long.mkdir()
    link = short_path(long)
    other = short_path(long)
    try:
        assert len(str(link)) <= MAX_BASE
        assert link.resolve() == long
        assert other != link
    finally:
        link.unlink()
        other.unlink()


def test_no_link_is_followed_below_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "file").write_text("in")
    (root / "up").symlink_to("..")
    (root / "a" / "link").symlink_to("file")
    (tmp_path / "alias").symlink_to(root)
    descriptor = open_below(tmp_path / "alias", "a", "file")
    assert os.read(descriptor, 10) == b"in"
    os.close(descriptor)
    for names in (("up", "root", "a", "file"), ("a", "link"), ("a", "..", "a", "file"), ("a",), ("a/file",), ("",)):
        with pytest.raises(OSError, match=r".+"):
            open_below(root, *names)
    with pytest.raises(OSError, match=r".+"), folder_below(root, "up"):
        pass
