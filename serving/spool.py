"""Usage on its way to the ledger: lines that the guard appends, and the replica reads, ships and forgets.

A line is `sequence key request_id milliseconds status prompt completion estimated`. A file holds some two thousand
lines and is named for its first sequence. Nothing is synced: a process that is killed loses nothing, a machine that
dies loses what was not shipped, which the ledger settles from its leases.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# A file that is shipped whole is removed whole.
FILE_BYTES = 1 << 17
_SUFFIX = ".usage"


class Entry(NamedTuple):
    """One request that has ended; `epoch` is in seconds since 1970."""

    sequence: int
    key: str
    request_id: str
    epoch: float
    status: int
    prompt_tokens: int
    completion_tokens: int
    estimated: bool

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class SpoolWriter:
    """Appends lines. What cannot be written (a full disk) is kept in memory, and tried again with the next line."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._file: int | None = None
        self._size = 0
        self._kept = b""
        self.sequence = max((entry.sequence for entry in SpoolReader(folder).entries()), default=0)

    def append(self, key: str, request_id: bytes, epoch: float, figures: tuple[int, int, int, bool]) -> None:
        """Write one entry; `figures` are status, prompt tokens, completion tokens, and whether they are estimated."""
        self.sequence += 1
        line = b"%d %s %s %d %d %d %d %d\n" % (self.sequence, key.encode(), request_id, epoch * 1000, *figures)
        data = self._kept + line
        try:
            if self._file is None:
                self._file = self._open()
            written = os.write(self._file, data)
        except OSError:
            written = 0
        self._kept = data[written:]
        self._size += written
        if self._size >= FILE_BYTES and not self._kept:
            self.close()

    def close(self) -> None:
        """Let go of the file; the next line begins another."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._size = None, 0

    def _open(self) -> int:
        name = f"{self.sequence:015d}{_SUFFIX}"
        return os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


class SpoolReader:
    """Reads from the oldest entry that was not forgotten. `through` is the last one that was."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.through = 0

    def entries(self) -> Iterator[Entry]:
        """Yield what is there after `through`, in order. A last line that is still being written is left for later."""
        files = self._files()
        for place, path in enumerate(files):
            if place + 1 < len(files) and _first(files[place + 1]) <= self.through + 1:
                continue
            for line in path.read_bytes().split(b"\n")[:-1]:
                entry = _entry(line.decode())
                if entry.sequence > self.through:
                    yield entry

    def forget(self, through: int) -> None:
        """Forget entries up to that one, and remove the files that hold no other. May be repeated."""
        self.through = max(self.through, through)
        files = self._files()
        for path, following in itertools.pairwise(files):
            if _first(following) <= self.through + 1:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))


def _first(path: Path) -> int:
    return int(path.stem)


def _entry(line: str) -> Entry:
    sequence, key, request_id, milliseconds, status, prompt, completion, estimated = line.split(" ")
    figures = int(status), int(prompt), int(completion), estimated == "1"
    return Entry(int(sequence), key, request_id, int(milliseconds) / 1000, *figures)
