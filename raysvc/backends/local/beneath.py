"""Files below a folder that jobs may write to. No symlink is followed on the way, so none can lead out of it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# O_NONBLOCK: opening a FIFO that a job left there must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def folder_below(root: Path, *names: str) -> Iterator[int]:
    """Open the folder `root/names…` and yield its descriptor. Raises OSError, for a symlink on the way too.

    `root` itself is trusted, and may be reached through symlinks.
    """
    descriptor = os.open(root, _FOLDER & ~os.O_NOFOLLOW)
    try:
        for name in names:
            _check(name)
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def open_below(root: Path, *names: str) -> int:
    """Return a descriptor, for reading, of the regular file `root/names…`; the caller closes it.

    Raises FileNotFoundError where there is none, or where it is not a regular file; OSError for a symlink on the way.
    """
    with folder_below(root, *names[:-1]) as folder:
        _check(names[-1])
        descriptor = os.open(names[-1], _FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{names[-1]} is not a regular file")
    return descriptor


def _check(name: str) -> None:
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise FileNotFoundError(f"{name!r} is not the name of a file")
