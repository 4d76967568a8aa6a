"""Zip archives and wheels, by zipfile, which reads whole bzip2 and lzma blocks: only stored and deflated are let in."""

import stat
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from raysvc.domain.archive.entry import CHUNK, Entry, Meter
from raysvc.domain.archive.tree import Tree

_MAX_SYMLINK = 4096
# A central directory record is 46 bytes, a name and extras.
_RECORD = 256


class _Guarded:
    """A file for zipfile that refuses to read much at once: a hostile central directory would fill the memory."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self.tell = file.tell
        self.seekable = file.seekable
        self.close = lambda: None

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if whence == 0 and offset < 0:
            raise zipfile.BadZipFile("an offset before the file's begin")
        return self._file.seek(offset, whence)

    def read(self, size: int = -1, /) -> bytes:
        if size > self._most:
            raise zipfile.BadZipFile("its directory is too large")
        return self._file.read(size)


def zip_entries(file: BinaryIO, meter: Meter, tree: Tree) -> Iterator[Entry]:
    with zipfile.ZipFile(_Guarded(file, max(CHUNK, meter.limits.entries * _RECORD))) as archive:
        for info in archive.infolist():
            meter.entry()
            # zipfile cuts a name at a NUL, which others may not.
            raw = info.orig_filename
            if info.flag_bits & 1:
                raise tree.refusal(raw, "is encrypted")
            if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise tree.refusal(raw, f"is compressed by method {info.compress_type}; use deflate or store")
            mode = info.external_attr >> 16
            kind = stat.S_IFDIR if raw.endswith("/") else stat.S_IFMT(mode) or stat.S_IFREG
            chunks = _zip_chunks(archive, info, meter)
            target = None
            if stat.S_ISLNK(kind):
                target = _bounded(chunks, _MAX_SYMLINK, tree, raw).decode("utf-8", "surrogateescape")
                chunks = iter([target.encode("utf-8", "surrogateescape")])
            path = tree.add(raw, kind, target)
            yield Entry(path, kind | stat.S_IMODE(mode), chunks)


def _zip_chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> Iterator[bytes]:
    with archive.open(info) as content:
        while chunk := content.read(CHUNK):
            meter.data(len(chunk))
            yield chunk


def _bounded(chunks: Iterator[bytes], most: int, tree: Tree, entry: str) -> bytes:
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > most:
            raise tree.refusal(entry, f"is a symlink to a path of more than {most} bytes")
    return data
