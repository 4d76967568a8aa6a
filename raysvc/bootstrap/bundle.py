"""A backup as a file: a plain tar, which `tar xf` and `sha256sum -c SHA256SUMS` can read without raysvc.

    blobs/packages/…            packages, by the key of their blob
    database/job-000001.jsonl   rows of a table, one JSON object a line, in the order of the primary key
    blobs/logs/…                archived logs
    files/…, policies/…         the data directory's own files
    manifest.json               of which version it is, and how much of what it holds
    SHA256SUMS                  last, over all of the above: without it the file is not whole

The sums tell damage, not malice: whoever can write the file can write them too.
"""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from pydantic import ValidationError

from raysvc.domain.model import Instant, Model
from raysvc.errors import DataDirError, Invalid

FORMAT = 1
_MANIFEST, _SUMS = "manifest.json", "SHA256SUMS"
# One member of a table's rows: small enough for memory, large enough that tar's 1 KiB a member does not count.
_PIECE = 8 << 20
_CHUNK = 1 << 20

Row = dict[str, Any]


class Manifest(Model):
    """What a backup says of itself. `flaws` were found while it was made: what was missing or damaged even then."""

    format: Literal[1] = 1
    raysvc: str
    schema_version: str
    database: str
    created_at: Instant
    host: str
    data_dir: str
    rows: dict[str, int]
    packages: int
    logs: int
    blob_bytes: int
    flaws: tuple[str, ...] = ()

    def text(self) -> bytes:
        """Return it as it stands in the file."""
        return (self.model_dump_json(indent=2) + "\n").encode()


class Member(NamedTuple):
    """One file of a bundle while it is being read. `digest` is that of its bytes, once all are read."""

    name: str
    content: "Hashing"
    offset: int
    size: int


class Hashing:
    """A file of known length, hashed as it is read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return at most that many bytes; none at its end."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        """Return the SHA-256 (hex) of what was read."""
        return self._hash.hexdigest()


class BundleWriter:
    """Writes a bundle to a file. `finish` is what makes it whole."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 the file is not ours
        self._sums = tempfile.SpooledTemporaryFile(max_size=_PIECE)  # noqa: SIM115 closed by close
        self.rows: dict[str, int] = {}
        self.blob_bytes = 0

    def add(self, name: str, source: IO[bytes], size: int) -> str:
        """Add that many bytes of a file; return their SHA-256."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        content = Hashing(source, size)
        self._tar.addfile(info, content)
        self._tar.members.clear()  # type: ignore[attr-defined]  # else each costs a KiB until the end
        self._sums.write(_sum(content.digest(), name))
        return content.digest()

    def add_bytes(self, name: str, data: bytes) -> None:
        self.add(name, io.BytesIO(data), len(data))

    def add_rows(self, table: str, rows: Iterable[Row], saw: Callable[[Row], None] = lambda _: None) -> None:
        """Add a table; `saw` is told each row."""
        piece, pieces, count = bytearray(), 0, 0
        for row in rows:
            saw(row)
            count += 1
            piece += json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            if len(piece) >= _PIECE:
                pieces += 1
                self.add_bytes(f"database/{table}-{pieces:06}.jsonl", bytes(piece))
                piece = bytearray()
        if piece:
            self.add_bytes(f"database/{table}-{pieces + 1:06}.jsonl", bytes(piece))
        self.rows[table] = count

    def finish(self, manifest: bytes) -> None:
        """Add the manifest and the sums. The file is the caller's to bring to the disk."""
        self.add_bytes(_MANIFEST, manifest)
        info = tarfile.TarInfo(_SUMS)
        info.size, info.mode = self._sums.tell(), 0o600
        self._sums.seek(0)
        self._tar.addfile(info, self._sums)
        self._tar.close()

    def close(self) -> None:
        """Let go of what was needed meanwhile. May be repeated."""
        self._sums.close()


def members(path: Path) -> Iterator[Member]:
    """Yield what a bundle holds, in order, and check it on the way: after the last one it is known to be whole.

    Raises Invalid where it is truncated, altered or no bundle at all.
    """
    sums, whole = hashlib.sha256(), False
    try:
        with tarfile.open(path, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]
                source = tar.extractfile(info) if info.isreg() else None
                if source is None or whole:
                    raise _damaged(path, f"it holds {info.name!r}, which no backup does")
                content = Hashing(source, info.size)
                if info.name == _SUMS:
                    whole = hashlib.sha256(content.read()).digest() == sums.digest()
                    if not whole:
                        raise _damaged(path, "its contents do not match its checksums")
                    continue
                yield Member(info.name, content, info.offset_data, info.size)
                while content.read(_CHUNK):
                    pass
                sums.update(_sum(content.digest(), info.name))
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    if not whole:
        raise _damaged(path, "its end is missing")


class Piece(NamedTuple):
    """Where in a bundle rows of a table lie."""

    offset: int
    size: int


@dataclass(frozen=True)
class Verified:
    """A bundle that was read once from end to end and is whole. `pieces` are of its tables, parents first."""

    path: Path
    manifest: Manifest
    pieces: Mapping[str, Sequence[Piece]]

    def rows(self, table: str) -> Iterator[Row]:
        with self.path.open("rb") as file:
            for piece in self.pieces.get(table, ()):
                file.seek(piece.offset)
                for line in file.read(piece.size).splitlines():
                    yield json.loads(line)


def verify(path: Path) -> Verified:
    """Read a bundle from end to end. Raises Invalid where it is not whole, DataDirError where it is too new."""
    manifest, pieces = b"", dict[str, list[Piece]]()
    for member in members(path):
        folder, _, name = member.name.partition("/")
        if member.name == _MANIFEST:
            try:
                manifest = member.content.read()
            except tarfile.ReadError as error:  # cut off in the midst of it
                raise _damaged(path, str(error)) from error
        elif folder == "database":
            pieces.setdefault(name.rpartition("-")[0], []).append(Piece(member.offset, member.size))
    return Verified(path, _manifest(path, manifest), pieces)


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        found = json.loads(text)["format"]
        if found != FORMAT:
            raise DataDirError(
                f"{path} is of a newer raysvc (format {found}; this one knows {FORMAT}). Install that version."
            )
        return Manifest.model_validate_json(text)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise _damaged(path, "its manifest cannot be read") from error


def _sum(digest: str, name: str) -> bytes:
    return f"{digest}  {name}\n".encode()


def _damaged(path: Path, why: str) -> Invalid:
    return Invalid(f"{path} is not a whole backup of raysvc: {why}. Take another one.", field="source")
