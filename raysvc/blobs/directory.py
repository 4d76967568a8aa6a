"""Blobs as files below one directory.

    root/packages/default/a.zip     a blob: its key is its path
    root/+tmp/k3x9              a put on its way: renamed once it is whole and on the disk

No key has a `+`, so the two never meet. All I/O is done in threads; every write that returned is on the disk.
"""

import asyncio
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from raysvc.blobs.files import keys
from raysvc.blobs.lock import lock
from raysvc.errors import Conflict, DiskFull, Invalid, NotFound, OverLimit, Unavailable

T = TypeVar("T")

_CHUNK = 1 << 20  # bytes: what the port allows to yield at once; large enough that changing threads costs nothing
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[a-z0-9._-]{1,255}\Z")
_MAX_KEY = 1024  # characters
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST})
# A folder that a concurrent delete takes away between making it and renaming into it is made again.
_RENAMES = 3
_CLOSED = -1


class DirectoryBlobs:
    """The Blobs port. Makes the directory, and sweeps what a process that died had begun to put.

    Raises DiskFull or Unavailable where the directory cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts = root / "+tmp"
        with _told(str(root)):
            _make_folder(self._drafts)
            _sweep(self._drafts)

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> int:
        path = self._path(key)
        draft = _Draft()
        try:
            await _in_thread(key, draft.open, self._drafts)
            size = 0
            pending = bytearray()
            async for chunk in chunks:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise OverLimit(f"It is larger than {limit:,} bytes, the most that is kept.")
                pending += chunk
                if len(pending) >= _CHUNK:
                    await _in_thread(key, draft.write, pending)
                    pending = bytearray()
            await _in_thread(key, draft.keep, pending, path)
        finally:
            await _in_thread(key, draft.discard)
        return size

    async def append(self, key: str, data: bytes, *, at: int) -> int:
        """Write at the end, which must be at byte `at`, and wait for the disk. Refused, it leaves what was there."""
        return await _in_thread(key, _append, self._path(key), data, at)

    async def size(self, key: str) -> int:
        path = self._path(key.removesuffix("/"))
        return await _in_thread(key, _size_below if key.endswith("/") else _size, path)

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        source = _Source()
        try:
            await _in_thread(key, source.open, self._path(key), key)
            while length is None or length > 0:
                most = _CHUNK if length is None else min(_CHUNK, length)
                chunk = await _in_thread(key, source.read, most, offset)
                if not chunk:
                    break
                yield chunk
                offset += len(chunk)
                length = None if length is None else length - len(chunk)
        finally:
            source.close()

    async def keys(self, below: str) -> AsyncIterator[str]:
        self._path(below.removesuffix("/"))
        for key in await _in_thread(below, lambda: list(keys(self._root, below))):
            yield key

    async def delete(self, key: str) -> None:
        path = self._path(key.removesuffix("/"))
        if key.endswith("/"):
            await _in_thread(key, _delete_folder, path, self._drafts)
        else:
            await _in_thread(key, _delete, path)

    def _path(self, key: str) -> Path:
        segments = key.split("/")
        if len(key) > _MAX_KEY or not all(_SEGMENT.match(segment) for segment in segments):
            raise Invalid(
                f"{key[:100]!r} is no key of a blob: it takes segments of a-z, 0-9, '.', '_' and '-', joined by '/'.",
                field="key",
            )
        return self._root.joinpath(*segments)


class _Draft:
    """A file that is not yet a blob. Locked while its process lives, so that a sweep can tell."""

    def __init__(self) -> None:
        self._fd = _CLOSED
        self._path = Path()

    def open(self, folder: Path) -> None:
        self._fd, name = tempfile.mkstemp(dir=folder)
        self._path = Path(name)
        fcntl.flock(self._fd, fcntl.LOCK_EX)

    def write(self, data: bytes | bytearray) -> None:
        _write(self._fd, data)

    def keep(self, data: bytes | bytearray, path: Path) -> None:
        """Write the rest and make it the blob: what is renamed is on the disk, then so is the new name."""
        self.write(data)
        _sync(self._fd)
        for renames_left in reversed(range(_RENAMES)):
            try:
                _make_folder(path.parent)
                self._path.replace(path)
                break
            except FileNotFoundError:
                if not renames_left:
                    raise
        _sync_folder(path.parent)

    def discard(self) -> None:
        """Remove it, unless it was kept."""
        if self._fd != _CLOSED:
            try:
                self._path.unlink(missing_ok=True)
            finally:
                os.close(self._fd)


class _Source:
    """A blob that is being read. It stays readable to its end when it is replaced or deleted meanwhile."""

    def __init__(self) -> None:
        self._fd = _CLOSED

    def open(self, path: Path, key: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            self._fd = os.open(path, os.O_RDONLY)
        if self._fd == _CLOSED or not stat.S_ISREG(os.fstat(self._fd).st_mode):
            raise NotFound(f"There is no blob {key!r}.")

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def close(self) -> None:
        if self._fd != _CLOSED:
            os.close(self._fd)


def _append(path: Path, data: bytes, at: int) -> int:
    if at == 0:
        _make_folder(path.parent)
    try:
        fd = os.open(path, os.O_RDWR | (os.O_CREAT if at == 0 else 0), 0o600)
    except FileNotFoundError as error:
        raise Conflict(f"There is nothing yet, so byte {at} is not its end.") from error
    try:
        lock(fd)  # a second append at the same place waits here, and then is refused
        size = os.fstat(fd).st_size
        if size != at:
            raise Conflict(f"It ends at byte {size}, not {at}. Go on from there.")
        os.lseek(fd, at, os.SEEK_SET)
        try:
            _write(fd, data)
            _sync(fd)
        except OSError:
            os.ftruncate(fd, at)
            raise
        if at == 0:
            _sync_folder(path.parent)
        return at + len(data)
    finally:
        os.close(fd)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _size_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # deleted meanwhile
                total += Path(parent, name).stat().st_size
    return total


def _delete(path: Path) -> None:
    if not path.is_dir():
        with suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()


def _delete_folder(path: Path, drafts: Path) -> None:
    """Take the folder out of the way in one step, then empty it: a put beside it meets all of it or nothing."""
    if path.is_dir():
        with tempfile.TemporaryDirectory(dir=drafts, ignore_cleanup_errors=True) as away, suppress(FileNotFoundError):
            path.rename(Path(away) / "folder")


def _sweep(drafts: Path) -> None:
    for draft in drafts.iterdir():
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
            continue
        fd = os.open(draft, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(fd)


def _make_folder(folder: Path) -> None:
    """Make it and those above it, each of them on the disk before anything is put into it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)


def _write(fd: int, data: bytes | bytearray) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _sync(fd: int) -> None:
    if (full := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        fcntl.fcntl(fd, full)  # macOS: fsync alone stops at the drive's cache
    else:
        os.fsync(fd)


def _sync_folder(folder: Path) -> None:
    """Put its names on the disk; a folder that was deleted meanwhile has none."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


async def _in_thread(key: str, work: Callable[..., T], *args: object) -> T:
    """Run it in a thread. A caller that is cancelled still waits for it, so that no file is closed under it."""
    thread = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        with _told(key):
            return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        thread.exception()  # marks it as seen
        raise


@contextmanager
def _told(key: str) -> Iterator[None]:
    """Raise what the system reports in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"The disk is full, so {key!r} was not kept. Free some space and try again.") from error
        if error.errno in _IN_THE_WAY:
            raise Conflict(f"{key!r} cannot be kept: another blob has the name of one of its folders.") from error
        raise Unavailable(f"The disk refuses {key!r}: {error.strerror}. Check the data directory.") from error
