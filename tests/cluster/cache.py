"""What is built once and kept outside the checkout: each thing in a folder named for a hash of all it is made from."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.command import say


def root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raysvc-tests"


def digest(*inputs: str | Path) -> str:
    """Return a hash of texts, and of the names and contents of files and all below folders, whatever their order."""
    total = hashlib.sha256()
    for each in inputs:
        if isinstance(each, str):
            total.update(f"text {len(each.encode())}\n{each}".encode())
            continue
        for file in sorted(_files(each)):
            content = file.read_bytes()
            total.update(f"file {file.relative_to(each)} {len(content)}\n".encode() + content)
    return total.hexdigest()[:16]


def made(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` filled for this key, now or before.

    One process at a time makes a thing; the others wait for it and take the result. What was interrupted, or raised,
    counts as not made.
    """
    folder = root() / f"{name}-{key}"
    if folder.exists():
        return folder
    with locked(root() / f"{name}.lock"):
        if not folder.exists():
            say(f"building {name} (kept in {folder})")
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            make(partial)
            partial.rename(folder)
    return folder


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock; wait for whoever holds it. The system lets go of it when its holder dies."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {file}")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
