"""Backup and restore: the same platform again, on either database, from a backup made while it works, or killed."""

import asyncio
import errno
import hashlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from raysvc.blobs.files import keys
from raysvc.bootstrap import backup
from raysvc.bootstrap.backup import Source, back_up
from raysvc.bootstrap.clock import SystemClock
from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.restore import check_target, inspect, restore
from raysvc.control.vault import package_key
from raysvc.domain.event import fold
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.project import Package
from raysvc.errors import DataDirError
from raysvc.store.dump import Snapshot, snapshot
from tests.contract.store.make import moved, new
from tests.postgres import PostgresServer

from .kept_platform import KeptPlatform, everything, kept
from .platform_process import eventually

ROOT = Path(__file__).parents[2]
NewUrl = Callable[[str], str | None]
# Runs a step in a process of its own that is killed at its last moment.
KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from raysvc.bootstrap import backup, restore
from raysvc.bootstrap.bundle import BundleWriter
from raysvc.bootstrap.clock import SystemClock

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

step, folder, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
if step == "backup":
    BundleWriter.finish = die
    backup.back_up(backup.Source(folder, folder, f"sqlite:///{folder}/raysvc.db"), file, SystemClock())
else:
    found = restore.inspect(file)
    restore._place = die
    asyncio.run(restore.restore(found, folder, f"sqlite:///{folder}/raysvc.db"))
"""


@pytest.fixture
def new_url(request: pytest.FixtureRequest) -> NewUrl:
    """Makes the URL of an empty database of a kind; None is the file that a data directory has."""

    def make(kind: str) -> str | None:
        if kind == "sqlite":
            return None
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.url(server.create())

    return make


def saved_to(folder: Path, target: Path, url: str | None = None) -> Path:
    return back_up(Source(folder, folder, url or f"sqlite:///{folder}/raysvc.db"), target, SystemClock()).path


def restored(source: Path, folder: Path, url: str | None = None) -> None:
    asyncio.run(restore(inspect(source), folder, url or f"sqlite:///{folder}/raysvc.db"))


def made(folder: Path, url: str | None = None) -> None:
    async def fill() -> None:
        async with kept(folder, url) as platform:
            await platform.fill()

    asyncio.run(fill())


def killed(step: str, folder: Path, file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, step, folder, file], cwd=ROOT, check=False, timeout=180)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("source", "target"),
    [("sqlite", "sqlite"), ("sqlite", "postgres"), ("postgres", "sqlite"), ("postgres", "postgres")],
)
def test_what_is_restored_is_what_was_backed_up(source: str, target: str, new_url: NewUrl, tmp_path: Path) -> None:
    before, after = new_url(source), new_url(target)
    made(tmp_path / "old", before)
    file = saved_to(tmp_path / "old", tmp_path / "backup.tar", before)
    assert file.stat().st_mode & 0o777 == 0o600
    restored(file, tmp_path / "new", after)
    there, here = everything(tmp_path / "old", before), everything(tmp_path / "new", after)
    # The log of an attempt that Ray may not have taken yet begins anew.
    [starting] = [row for row in there["rows"]["job"] if row["phase"] == "STARTING"]
    del there["blobs"][f"logs/{starting['uid']}/1.log"]
    assert here == there
    assert {table for table, rows in here["rows"].items() if not rows} == set()

    async def use() -> None:
        async with kept(tmp_path / "new", after) as platform:
            assert await platform.vault.secret("default", "HF_TOKEN") == "mellon"
            job, fresh = await platform.store.jobs.add_once(*new(), key="once", body_digest="d")
            assert not fresh
            assert Job.model_validate(fold(await platform.store.jobs.events(job.uid))) == job

    asyncio.run(use())


@contextmanager
def adding(url: str) -> Iterator[list[str]]:
    """Let a process add and move jobs as fast as it can; yields the uids that it was promised, as they come."""
    promised: list[str] = []
    command = [sys.executable, "-m", "tests.contract.store.adder", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as adder:
        assert adder.stdout is not None
        lines = iter(adder.stdout)
        reader = Thread(target=lambda: promised.extend(line.split()[0] for line in lines))
        reader.start()
        try:
            yield promised
        finally:
            adder.kill()
            reader.join()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_backup_under_load_has_all_that_was_promised_before_it(kind: str, new_url: NewUrl, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    url = new_url(kind)
    made(folder, url)
    with adding(url or f"sqlite:///{folder}/raysvc.db") as promised:
        for number in range(3):
            eventually(lambda: len(promised) > 300 * (number + 1), 180)  # noqa: B023 called at once
            before = set(promised)
            found = inspect(saved_to(folder, tmp_path / f"{number}.tar", url))  # each job is the fold of its events
            assert {row["uid"] for row in found.rows("job")} >= before
        assert len(promised) > len(before), "it was not under load"
    restored(found.path, tmp_path / "new")
    with snapshot(f"sqlite:///{tmp_path}/new/raysvc.db") as moment:
        assert {row["uid"] for row in moment.rows("job")} >= before


def test_packages_that_come_and_go_meanwhile_are_there_if_the_database_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are collected, one before and one after the moment of the database; one is uploaded before it."""
    folder = tmp_path / "old"
    made(folder)
    asyncio.run(_open(folder, lambda platform: platform.upload(3)))

    @contextmanager
    def moment(url: str) -> Iterator[Snapshot]:
        asyncio.run(_open(folder, _before))
        with snapshot(url) as found:
            yield found
        asyncio.run(_open(folder, _after))

    monkeypatch.setattr(backup, "snapshot", moment)
    file = saved_to(folder, tmp_path / "backup.tar")
    assert inspect(file).manifest.flaws == ()
    assert packages(folder) == {2}
    restored(file, tmp_path / "new")
    assert packages(tmp_path / "new") == {1, 2}


async def _open(folder: Path, use: Callable[[KeptPlatform], Awaitable[object]]) -> None:
    async with kept(folder) as platform:
        await use(platform)


async def _before(platform: KeptPlatform) -> None:
    await _collect(platform)
    package = await platform.upload(2)
    await platform.store.jobs.add(*new("two"), packages=[package.name])


async def _after(platform: KeptPlatform) -> None:
    job = await platform.store.jobs.get("default", "one")
    await moved(platform.store, job, JobPhase.CANCELLED)
    await _collect(platform)


async def _collect(platform: KeptPlatform) -> None:
    for package in await platform.store.packages.remove_unreferenced(datetime(2100, 1, 1, tzinfo=UTC), 100):
        await platform.blobs.delete(package_key(package))


def packages(folder: Path) -> set[int]:
    """Return the numbers of the packages that have a row, and bytes of the right digest; there are no other bytes."""
    with snapshot(f"sqlite:///{folder}/raysvc.db") as moment:
        rows = [Package.model_validate_json(row["body"]) for row in moment.rows("package")]
    for row in rows:
        assert hashlib.sha256((folder / "blobs" / package_key(row)).read_bytes()).hexdigest() == row.sha256
    assert {package_key(row) for row in rows} == set(keys(folder / "blobs", "packages"))
    return {int(row.name.removeprefix("_ray_pkg_").removesuffix(".zip"), 16) for row in rows}


def test_a_backup_that_is_killed_leaves_none_and_the_next_one_takes_its_remains_away(tmp_path: Path) -> None:
    made(tmp_path / "old")
    (tmp_path / "to").mkdir()
    file = tmp_path / "to" / "backup.tar"
    killed("backup", tmp_path / "old", file)
    assert not file.exists()
    assert len(list(file.parent.iterdir())) == 1
    inspect(saved_to(tmp_path / "old", file))
    assert list(file.parent.iterdir()) == [file]


def test_a_place_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    made(tmp_path / "old")
    (tmp_path / "to [stick]").mkdir()
    monkeypatch.setattr("os.link", link)
    file = saved_to(tmp_path / "old", tmp_path / "to [stick]" / "a [b].tar")
    inspect(file)
    assert list(file.parent.iterdir()) == [file]


def test_a_restore_that_is_killed_is_no_platform_and_says_so(tmp_path: Path) -> None:
    made(tmp_path / "old")
    file = saved_to(tmp_path / "old", tmp_path / "backup.tar")
    killed("restore", tmp_path / "new", file)
    uses: tuple[Callable[[], None], ...] = (lambda: check_target(tmp_path / "new"), DataDir(tmp_path / "new").open)
    for use in uses:
        with pytest.raises(DataDirError, match=r"did not finish\. Remove"):
            use()
    shutil.rmtree(tmp_path / "new")
    restored(file, tmp_path / "new")
    assert everything(tmp_path / "new")["rows"] == everything(tmp_path / "old")["rows"]
