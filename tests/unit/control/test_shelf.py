"""Uploaded packages: kept whole or not at all, whatever happens beside the upload."""

import io
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest

from raysvc.control.housekeeping import UPLOAD_GRACE, Housekeeper, Retention
from raysvc.control.shelf import PIN, Shelf
from raysvc.control.vault import package_key
from raysvc.domain.access import Principal
from raysvc.domain.project import Package, Project, Role
from raysvc.errors import Conflict, DiskFull, OverLimit
from raysvc.testing.backend import Crash
from raysvc.testing.blobs import MemoryBlobs
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore

from .world import Place

ADA = Principal(name="ada", role=Role.MEMBER)
NAME = "_ray_pkg_0123456789abcdef.zip"
URI = ("gcs", NAME)


def archive(text: str, year: int = 2020) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr(zipfile.ZipInfo("train.py", (year, 1, 1, 0, 0, 0)), text)
    return data.getvalue()


async def stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def content(blobs: MemoryBlobs, key: str) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key)])


class Room:
    """A shelf on memory."""

    def __init__(self, spool: Path, limit: int = 1 << 20) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.blobs = MemoryBlobs()
        self.shelf = Shelf(self.store, self.blobs, self.clock, spool, limit)

    async def ready(self) -> "Room":
        await self.store.open()
        await self.store.projects.put(Project(name="default", created_at=self.clock.now()))
        return self


async def test_the_same_entries_with_other_mtimes_are_the_same_package_and_the_first_is_kept(tmp_path: Path) -> None:
    room = await Room(tmp_path).ready()
    first = await room.shelf.put(ADA, "default", URI, stream(archive("one", 2020)))
    again = await room.shelf.put(ADA, "default", URI, stream(archive("one", 2021)))
    assert again.sha256 == first.sha256
    assert await content(room.blobs, package_key(first)) == archive("one", 2020)
    assert await room.blobs.size("packages/") == len(archive("one"))


async def test_other_contents_are_refused_and_leave_the_first_and_nothing_else(tmp_path: Path) -> None:
    room = await Room(tmp_path).ready()
    first = await room.shelf.put(ADA, "default", URI, stream(archive("one")))
    with pytest.raises(Conflict):
        await room.shelf.put(ADA, "default", URI, stream(archive("two")))
    assert await content(room.blobs, package_key(first)) == archive("one")
    assert await room.blobs.size("packages/") == len(archive("one"))


async def test_a_package_that_is_sent_again_while_its_old_bytes_are_collected_keeps_its_bytes(tmp_path: Path) -> None:
    room = await Room(tmp_path).ready()
    await room.shelf.put(ADA, "default", URI, stream(archive("one")))
    room.clock.advance((PIN + timedelta(seconds=1)).total_seconds())
    [old] = await room.store.packages.remove_unreferenced(room.clock.now(), 10)
    new = await room.shelf.put(ADA, "default", URI, stream(archive("one")))
    await room.blobs.delete(package_key(old))  # the collector comes to the bytes only now
    assert await content(room.blobs, package_key(new)) == archive("one")


async def test_bytes_that_no_record_came_of_are_swept_after_a_day_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await Room(tmp_path).ready()
    await room.store.projects.put(Project(name="other", created_at=room.clock.now()))
    kept = [await room.shelf.put(ADA, name, URI, stream(archive("kept"))) for name in ("default", "other")]

    async def dies(_: Package) -> Package:
        raise Crash  # between the bytes and their record

    monkeypatch.setattr(room.store.packages, "add", dies)
    for project in ("default", "other"):
        with pytest.raises(Crash):
            await room.shelf.put(ADA, project, ("gcs", "_ray_pkg_fedcba9876543210.zip"), stream(archive("lost")))
    await room.blobs.put("packages/default/of-an-older-version", stream(b"unknown"))
    place = Place(clock=room.clock, store=room.store, blobs=room.blobs)
    keeper = Housekeeper(room.store, place.backend, room.blobs, place.archive, room.clock, Retention())
    assert await keeper.sweep_uploads() == 0, "it may still be on its way"
    room.clock.advance(UPLOAD_GRACE.total_seconds())
    assert await keeper.sweep_uploads() == 2
    left = [key async for key in room.blobs.keys("packages/")]
    assert left == sorted(["packages/default/of-an-older-version", *map(package_key, kept)])


async def test_above_the_limit_nothing_is_kept(tmp_path: Path) -> None:
    room = await Room(tmp_path, limit=10).ready()
    with pytest.raises(OverLimit, match="max-package"):
        await room.shelf.put(ADA, "default", URI, stream(archive("one")))
    assert await room.blobs.size("packages/") == 0


@pytest.mark.parametrize("size", [100, 1 << 20], ids=["at the flush", "at the write"])
async def test_a_full_disk_is_said_wherever_it_shows(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_full_disk(*, buffering: int = -1, **_: object) -> IO[bytes]:
        return open("/dev/full", "r+b", buffering)  # noqa: PTH123 the caller closes it

    room = await Room(tmp_path, limit=1 << 30).ready()
    monkeypatch.setattr("raysvc.control.shelf.tempfile.TemporaryFile", on_a_full_disk)
    with pytest.raises(DiskFull, match="Free some space"):
        await room.shelf.put(ADA, "default", URI, stream(b"x" * size))
