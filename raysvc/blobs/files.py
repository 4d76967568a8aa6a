"""A directory of blobs as files, for a backup: read beside the server that writes it, and never written."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple


class OpenBlob(NamedTuple):
    """A blob that stays as it is read here, deleted or not: `size` bytes of `file`."""

    file: IO[bytes]
    size: int


def keys(root: Path, below: str) -> Iterator[str]:
    """Yield the keys of the blobs below a key, in order. Ones that come or go meanwhile may be left out."""
    for folder, folders, names in os.walk(root / below):
        folders.sort()
        for name in sorted(names):
            yield str((Path(folder) / name).relative_to(root))


@contextmanager
def opened(root: Path, key: str) -> Iterator[OpenBlob | None]:
    """Open a blob; None where there is none (any more)."""
    with suppress(FileNotFoundError), (root / key).open("rb") as file:
        # An append on its way holds the lock, and takes back what it wrote if it fails: only what is kept counts.
        fcntl.flock(file, fcntl.LOCK_SH)
        size = os.fstat(file.fileno()).st_size
        fcntl.flock(file, fcntl.LOCK_UN)
        yield OpenBlob(file, size)
        return
    yield None
