"""What servers of one deployment share, and who may use a database."""

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raysvc.backends.local.head import HeadFiles
from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.shareddir import SharedDir, once
from raysvc.errors import DataDirError, Invalid
from raysvc.settings import Settings
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore

POSTGRES = "postgresql://localhost/raysvc"


def opened(path: Path) -> SharedDir:
    shared = SharedDir(path)
    shared.open()
    return shared


async def store() -> MemoryStore:
    kept = MemoryStore()
    await kept.open()
    return kept


def test_keys_are_made_once_and_are_for_their_owner_alone(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "shared"), opened(tmp_path / "shared")
    assert first.secret_key() == second.secret_key()
    assert first.session_key() == second.session_key()
    for name in ("secret-key", "session-key"):
        assert stat.S_IMODE((tmp_path / "shared" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o700


def test_of_servers_that_start_at_once_one_makes_the_key(tmp_path: Path) -> None:
    made = iter(range(1000))
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(lambda _: once(tmp_path / "key", lambda: str(next(made))), range(64)))
        words = list(threads.map(lambda _: HeadFiles(tmp_path).instance(), range(64)))
    assert (len(set(keys)), len(set(words))) == (1, 1)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["key"]


def test_the_directory_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirError, match="--shared-dir"):
        SharedDir(tmp_path / "file").open()


async def test_a_database_belongs_to_who_has_its_keys(tmp_path: Path) -> None:
    leases, clock = (await store()).leases, FakeClock()
    await opened(tmp_path / "shared").claim(leases, clock)
    clock.advance(365 * 86_400)
    await opened(tmp_path / "shared").claim(leases, clock)
    with pytest.raises(DataDirError, match="the same --shared-dir"):
        await opened(tmp_path / "another").claim(leases, clock)


def test_several_servers_need_one_database_and_one_ray(tmp_path: Path) -> None:
    needed = {"database_url": POSTGRES, "ray_address": "http://10.0.0.1:8265"}
    settings = Settings(data_dir=tmp_path / "a", shared_dir=tmp_path / "s", **needed)
    assert settings.deployment_dir == tmp_path / "s"
    assert Settings(data_dir=tmp_path / "a").deployment_dir == tmp_path / "a"
    for missing in needed:
        rest = {name: value for name, value in needed.items() if name != missing}
        with pytest.raises(Invalid, match=f"--{missing.replace('_', '-')}") as refused:
            Settings(data_dir=tmp_path / "a", shared_dir=tmp_path / "s", **rest)
        assert refused.value.field == "shared_dir"
    with pytest.raises(Invalid, match="postgresql"):
        Settings(data_dir=tmp_path, shared_dir=tmp_path, **{**needed, "database_url": "sqlite:////tmp/a.db"})


def test_a_process_has_its_predecessors_name_and_a_copy_has_another(tmp_path: Path) -> None:
    names = []
    for path in (tmp_path / "a", tmp_path / "a", tmp_path / "b"):
        directory = DataDir(path)
        directory.open()
        names.append(directory.tenant())
        directory.close()
    assert names[0] == names[1] != names[2]


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "raysvc.cli",
        "up",
        *("--data-dir", str(tmp_path / "a")),
        *("--shared-dir", str(tmp_path / "s")),
    ]
    told = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    assert told.returncode != 0
    assert "--database-url" in told.stderr
    assert "Traceback" not in told.stderr
