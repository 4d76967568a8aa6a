"""What only a directory can do: be full, be left behind by a dead process, lose its power."""

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from raysvc.blobs import directory
from raysvc.blobs.directory import DirectoryBlobs
from raysvc.errors import Conflict, DiskFull, RaysvcError, Unavailable
from tests.contract.blobs.make import content, stream
from tests.small_disk import FailingDisk

ROOT = Path(__file__).parents[3]
MIB = 1 << 20


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


async def test_a_key_is_a_path_and_drafts_leave_nothing(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("a/b", stream(b"x"))
    with pytest.raises(RaysvcError):
        await blobs.put("a/c", stream(b"xx"), limit=1)
    await blobs.append("log", b"y", at=0)
    assert files(tmp_path) == ["a/b", "log"]


async def test_others_may_not_read_it(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "root")
    await blobs.put("a/b", stream(b"x"))
    await blobs.append("a/c", b"x", at=0)
    assert modes(tmp_path) == {"root": 0o700, "root/+tmp": 0o700, "root/a": 0o700, "root/a/b": 0o600, "root/a/c": 0o600}


async def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    blobs = DirectoryBlobs(small_disk / "blobs")
    await blobs.put("kept", stream(b"k" * MIB))
    await blobs.append("log", b"l" * MIB, at=0)
    with pytest.raises(DiskFull, match="Free some space"):
        await blobs.put("large", stream(*[b"x" * MIB] * 8))
    with pytest.raises(DiskFull):
        await blobs.append("log", b"x" * (8 * MIB), at=MIB)
    assert files(small_disk) == ["blobs/kept", "blobs/log"]
    assert await blobs.size("log") == MIB
    assert await blobs.append("log", b"y", at=MIB) == MIB + 1
    assert await content(blobs, "kept") == b"k" * MIB
    await blobs.delete("kept")
    assert await blobs.put("large", stream(*[b"x" * MIB] * 2)) == 2 * MIB


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_disk_that_turns_read_only_refuses_and_serves_what_it_has(failing_disk: FailingDisk) -> None:
    blobs = DirectoryBlobs(failing_disk.path / "blobs")
    await blobs.put("kept", stream(b"k" * MIB))
    await blobs.append("log", b"l" * 10, at=0)
    before = open_files()

    async def cut_off() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        failing_disk.fail()
        yield b"x" * MIB

    for call in (
        lambda: blobs.put("half", cut_off()),
        lambda: blobs.put("other", stream(b"x")),
        lambda: blobs.put("kept", stream(b"x" * 2 * MIB)),
        lambda: blobs.append("log", b"x", at=10),
        lambda: blobs.delete("kept"),
    ):
        with pytest.raises(Unavailable, match="The disk refuses"):
            await call()
    assert await content(blobs, "kept") == b"k" * MIB
    assert await content(blobs, "log") == b"l" * 10
    assert open_files() == before
    failing_disk.again()
    blobs = DirectoryBlobs(failing_disk.path / "blobs")
    assert files(failing_disk.path / "blobs") == ["kept", "log"]
    assert await content(blobs, "kept") == b"k" * MIB


async def test_a_file_that_may_not_grow_any_further(tmp_path: Path) -> None:
    """As a full disk, and possible everywhere: the kernel refuses to let any file of this process grow."""
    blobs = DirectoryBlobs(tmp_path)
    await blobs.append("log", b"l" * 1000, at=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, hard))
    try:
        with pytest.raises(DiskFull):
            await blobs.put("large", stream(*[b"x" * MIB] * 4))
        with pytest.raises(DiskFull):
            await blobs.append("log", b"x" * (4 * MIB), at=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert files(tmp_path) == ["log"]
    assert await blobs.size("log") == 1000


async def test_a_disk_that_fails_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("a", stream(b"old"))
    with monkeypatch.context() as patch:
        patch.setattr("raysvc.blobs.directory._sync", fail)
        with pytest.raises(Unavailable, match="Input/output error"):
            await blobs.put("a", stream(b"new"))
        with pytest.raises(Unavailable):
            await blobs.append("a", b"more", at=3)
    assert await content(blobs, "a") == b"old"


async def test_an_append_that_is_on_its_way_keeps_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked at the size before either has written, were it not for the lock."""
    both = threading.Barrier(2)
    write = directory._write  # noqa: SLF001 the moment between the look and the write

    def write_together(fd: int, data: bytes) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # s; the other cannot come while it is locked out
        write(fd, data)

    blobs = DirectoryBlobs(tmp_path)
    monkeypatch.setattr(directory, "_write", write_together)
    results = await asyncio.gather(
        blobs.append("log", b"one", at=0), blobs.append("log", b"two", at=0), return_exceptions=True
    )
    assert [result for result in results if not isinstance(result, Conflict)] == [3]


async def test_an_error_of_the_sender_is_not_told_as_one_of_the_disk(tmp_path: Path) -> None:
    async def unplugged() -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, "the sender's own disk")

    with pytest.raises(OSError, match="sender"):
        await DirectoryBlobs(tmp_path).put("a", unplugged())


async def test_what_a_dead_process_began_is_swept_and_what_a_live_one_does_is_not(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from pathlib import Path
from raysvc.blobs import directory
from raysvc.blobs.directory import DirectoryBlobs

async def endless():
    yield b"x" * (1 << 20)
    print("begun", flush=True)
    await asyncio.Event().wait()

asyncio.run(DirectoryBlobs(Path({str(tmp_path)!r})).put("a", endless()))
"""

    def left_by_the_dead() -> None:
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"begun\n"
                DirectoryBlobs(tmp_path)
                assert len(files(tmp_path)) == 1, "a live process's draft was swept"
            finally:
                process.kill()

    await asyncio.to_thread(left_by_the_dead)
    assert len(files(tmp_path)) == 1
    blobs = DirectoryBlobs(tmp_path)
    assert files(tmp_path) == []
    assert await blobs.size("a") == 0


async def test_a_sweep_takes_what_a_delete_left_behind(tmp_path: Path) -> None:
    half = tmp_path / "+tmp" / "away" / "folder"
    half.mkdir(parents=True)
    (half / "x").touch()
    DirectoryBlobs(tmp_path)
    assert list((tmp_path / "+tmp").iterdir()) == []


async def test_a_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((Unavailable, Conflict)):
        DirectoryBlobs(tmp_path / "file" / "blobs")


async def test_everything_is_synced_before_it_is_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that survives a power cut: the bytes, then the name, then the folder that holds the name."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(fd: int) -> None:
        done.append(f"sync {Path(f'/dev/fd/{fd}').readlink().name}")
        fsync(fd)

    def note_replace(self: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return replace(self, target)

    blobs = DirectoryBlobs(tmp_path)
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    await blobs.put("new/a", stream(b"x"))
    assert done[0].startswith("sync tmp")
    assert done[1:] == [f"sync {tmp_path.name}", "rename to a", "sync new"]
    done.clear()
    await blobs.append("new/log", b"x", at=0)
    assert done == ["sync log", "sync new"]
    done.clear()
    await blobs.append("new/log", b"x", at=1)
    assert done == ["sync log"]
