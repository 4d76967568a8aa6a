"""What is refused and leaves nothing behind: a backup that is not whole, a place that is taken, a disk that is full."""

import asyncio
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest

from raysvc.blobs.files import keys
from raysvc.bootstrap.backup import Source, back_up
from raysvc.bootstrap.bundle import BundleWriter
from raysvc.bootstrap.clock import SystemClock
from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.restore import check_target, inspect, restore
from raysvc.domain.job import JobPhase
from raysvc.errors import AlreadyExists, DataDirError, DiskFull, Invalid
from tests.small_disk import FailingDisk, failing_disk, small_disk

from .kept_platform import everything, kept

__all__ = ["failing_disk", "small_disk"]

RAYSVC = (sys.executable, "-m", "raysvc.cli")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a platform."""
    folder = tmp_path_factory.mktemp("kept") / "old"

    async def fill() -> None:
        async with kept(folder) as platform:
            await platform.fill()

    asyncio.run(fill())
    return folder


@pytest.fixture(scope="module")
def whole(old: Path) -> Path:
    """A backup of it."""
    return saved_to(old, old.parent / "backup.tar")


def saved_to(folder: Path, target: Path) -> Path:
    return back_up(Source(folder, folder, f"sqlite:///{folder}/raysvc.db"), target, SystemClock()).path


def restored(source: Path, folder: Path) -> None:
    asyncio.run(restore(inspect(source), folder, f"sqlite:///{folder}/raysvc.db"))


def changed(whole: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write a bundle whose sums are right, out of a whole one's members after a change."""
    with tarfile.open(whole) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    manifest, _ = members.pop("manifest.json"), members.pop("SHA256SUMS")
    change(members)
    with target.open("wb") as file, closing(BundleWriter(file)) as bundle:
        for name, content in members.items():
            bundle.add(name, io.BytesIO(content), len(content))
        bundle.finish(manifest)
    return target


def test_a_backup_that_was_cut_off_anywhere_is_refused(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    file = tmp_path / "cut.tar"
    # The last 1,024 bytes at least are the empty blocks that end a tar: nothing is lost with them.
    last = data.rstrip(b"\0").rindex(b"\n") + 1
    for end in {0, 1, 511, 512, 513, len(data) // 2, last - 1, *Random(7).sample(range(last), 60)}:  # noqa: S311 the same each time
        file.write_bytes(data[:end])
        with pytest.raises(Invalid, match="not a whole backup") as refusal:
            inspect(file)
        assert refusal.value.field == "source"


def test_a_backup_with_a_byte_altered_is_refused_or_restored_as_it_was(whole: Path, tmp_path: Path) -> None:
    """What tar pads its blocks with is the only place where a byte may change unnoticed, and it means nothing."""
    data = whole.read_bytes()
    good, file, refused = inspect(whole), tmp_path / "altered.tar", 0
    for place in Random(11).sample(range(len(data)), 300):  # noqa: S311 the same bytes each time
        altered = bytearray(data)
        altered[place] ^= 1 << place % 8
        file.write_bytes(altered)
        try:
            found = inspect(file)
        except Invalid:
            refused += 1
        else:
            assert data[place] == 0
            assert found.manifest == good.manifest
            assert [list(found.rows(table)) for table in found.pieces] == [list(good.rows(t)) for t in good.pieces]
    assert refused > 150


@pytest.mark.parametrize(
    ("field", "value", "error", "says"),
    [
        ("format", 2, DataDirError, "newer raysvc"),
        ("schema_version", "9999", DataDirError, "newer"),
        ("rows", {"job": 1}, Invalid, "counts"),
    ],
)
def test_a_backup_of_a_newer_version_is_refused(
    whole: Path, tmp_path: Path, field: str, value: object, error: type[Exception], says: str
) -> None:
    manifest = json.loads(inspect(whole).manifest.text())
    file = tmp_path / "other.tar"
    with file.open("wb") as out, closing(BundleWriter(out)) as bundle:
        bundle.finish(json.dumps({**manifest, field: value}).encode())
    with pytest.raises(error, match=says):
        restored(file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_job_that_is_not_what_its_events_say_is_named(whole: Path, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        name = "database/job-000001.jsonl"
        first, rest = members[name].split(b"\n", 1)
        row = json.loads(first)
        row["body"] = row["body"].replace('"python train.py"', '"python Train.py"', 1)
        members[name] = json.dumps(row).encode() + b"\n" + rest

    file = changed(whole, tmp_path / "damaged.tar", change)
    uid = next(inspect(whole).rows("job"))["uid"]
    with pytest.raises(Invalid, match=rf"1 record.* not what .* events say .*{uid}"):
        inspect(file)


@pytest.mark.parametrize("name", ["blobs/../evil", "files/../evil", "files/lock", "policies/a/b", "policies/.x"])
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_left(whole: Path, tmp_path: Path, name: str) -> None:
    file = changed(whole, tmp_path / "evil.tar", lambda members: members.update({name: b"evil"}))
    with pytest.raises(Invalid):
        restored(file, tmp_path / "to" / "new")
    assert not list((tmp_path / "to" / "new").iterdir())
    assert not (tmp_path / "to" / "evil").exists()


def test_a_place_that_is_taken_is_refused_and_left_alone(old: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists, match="there already"):
        saved_to(old, whole)
    inspect(whole)
    with pytest.raises(DataDirError, match="no raysvc has run"):
        saved_to(tmp_path, tmp_path / "b.tar")
    with pytest.raises(DataDirError, match="not empty"):
        check_target(old)
    (tmp_path / "file").touch()
    with pytest.raises(DataDirError, match="not a directory"):
        check_target(tmp_path / "file")
    with closing(DataDir(tmp_path / "held")) as held:
        held.open()
        with pytest.raises(DataDirError, match="live server"):
            check_target(tmp_path / "held")
    # A database that is in use, for a directory that is not.
    with pytest.raises(DataDirError, match="in use already"):
        asyncio.run(restore(inspect(whole), tmp_path / "new", f"sqlite:///{old}/raysvc.db"))
    assert not list((tmp_path / "new").iterdir())


def test_a_full_disk_leaves_no_backup_and_no_platform(old: Path, whole: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * ((4 << 20) - whole.stat().st_size // 2))
    with pytest.raises(DiskFull, match="no backup"):
        saved_to(old, small_disk / "backup.tar")
    assert list(small_disk.iterdir()) == [ballast]


def test_a_disk_that_gets_full_leaves_no_half_of_a_platform(failing_disk: FailingDisk, tmp_path: Path) -> None:
    async def fill() -> None:
        async with kept(tmp_path / "old") as platform:
            await platform.log(await platform.ran(JobPhase.FAILED), 1, b"x" * (90 << 20))

    asyncio.run(fill())
    file = saved_to(tmp_path / "old", tmp_path / "backup.tar")
    with pytest.raises(DiskFull, match="Free some space"):
        restored(file, failing_disk.path / "new")
    assert not list((failing_disk.path / "new").iterdir())


def test_a_platform_on_a_disk_that_has_failed_can_still_be_backed_up(failing_disk: FailingDisk, tmp_path: Path) -> None:
    folder = failing_disk.path / "data"

    async def fail_and_save() -> None:
        async with kept(folder) as platform:
            await platform.fill()
            failing_disk.fail()
            saved_to(folder, tmp_path / "backup.tar")

    with suppress(OSError):  # it cannot take its announcement away any more
        asyncio.run(fail_and_save())
    restored(tmp_path / "backup.tar", tmp_path / "new")
    failing_disk.again()
    assert everything(tmp_path / "new")["rows"] == everything(folder)["rows"]


def test_what_was_damaged_before_is_said_and_the_rest_is_kept(tmp_path: Path) -> None:
    old = tmp_path / "old"

    async def fill() -> None:
        async with kept(old) as platform:
            await platform.fill()
            await platform.upload(2)

    asyncio.run(fill())
    flipped, gone = (old / "blobs" / key for key in keys(old / "blobs", "packages"))
    data = bytearray(flipped.read_bytes())
    data[40] ^= 1
    flipped.write_bytes(data)
    gone.unlink()
    done = subprocess.run(
        [*RAYSVC, "backup", "--data-dir", old, tmp_path / "b.tar"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"its digest is another: {flipped}" in done.stderr
    assert f"is missing: {gone}" in done.stderr
    restored(tmp_path / "b.tar", tmp_path / "new")
    assert everything(tmp_path / "new")["rows"] == everything(old)["rows"]
