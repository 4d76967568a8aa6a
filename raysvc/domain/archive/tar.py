"""Tar archives, block by block: tarfile reads whole headers into memory and takes a bad header for the end."""

import gzip
import lzma
import stat
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from raysvc.domain.archive.entry import CHUNK, Entry, Meter
from raysvc.domain.archive.tree import Tree, entry_path

# xz -9, the strongest preset, takes 65 MiB to unpack (man xz); a hostile header may ask for 4 GiB.
_XZ_MEMORY = 128 << 20
_BLOCK = 512
_MAX_HEADER = 64 << 10
# Above all of st_mode: a hard link is not a file that holds the other's name.
_HARD = 1 << 20
_PAX_KEYS = frozenset({b"path", b"linkpath", b"size", b"GNU.sparse.major", b"GNU.sparse.size"})
_SPARSE = frozenset({"GNU.sparse.major", "GNU.sparse.size"})


class Stream:
    """Unpacked bytes, taken by count, in order."""

    def __init__(self, chunks: Iterator[bytes], meter: Meter) -> None:
        self._chunks = chunks
        self._meter = meter
        self._held = memoryview(b"")

    def some(self, most: int) -> memoryview:
        """Return 1 to `most` bytes, or none at the end."""
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._meter.data(len(chunk))
            # A view, so that taking block after block of it copies nothing.
            self._held = memoryview(chunk)
        taken, self._held = self._held[:most], self._held[most:]
        return taken

    def pieces(self, count: int) -> Iterator[bytes]:
        while count:
            piece = self.some(min(count, CHUNK))
            if not piece:
                raise EOFError("it ends in the middle of an entry")
            count -= len(piece)
            yield bytes(piece)

    def take(self, count: int) -> bytes:
        return b"".join(self.pieces(count))


_TAR_KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.CONTTYPE: stat.S_IFREG,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.LNKTYPE: stat.S_IFREG,
}


def tar_entries(stream: Stream, meter: Meter, tree: Tree) -> Iterator[Entry]:
    extended: dict[str, str] = {}
    while True:
        block = stream.take(_BLOCK)
        if not any(block):
            break
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}:
            field = "path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
            extended[field] = _header(stream, info).rstrip(b"\0").decode("utf-8", "surrogateescape")
            continue
        if info.type in {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}:
            records = _pax(_header(stream, info))
            if info.type == tarfile.XGLTYPE:
                if records:
                    raise tree.refusal(info.name, "gives all entries one name or size")
            else:
                extended |= records
            continue
        meter.entry()
        yield from _tar_entry(stream, info, extended, tree)
        extended = {}
    while rest := stream.some(CHUNK):
        if bytes(rest).count(0) != len(rest):
            raise tarfile.ReadError("there is data after its end")


def _tar_entry(stream: Stream, info: tarfile.TarInfo, extended: dict[str, str], tree: Tree) -> Iterator[Entry]:
    name = extended.get("path", info.name)
    size = int(extended.get("size", info.size))
    kind = _TAR_KINDS.get(info.type)
    if kind is None or extended.keys() & _SPARSE:
        raise tree.refusal(name, "is not a file, folder or link (a device, pipe or sparse file)")
    link = info.type in {tarfile.SYMTYPE, tarfile.LNKTYPE}
    if size < 0 or (size > 0 and (link or kind == stat.S_IFDIR)):
        raise tree.refusal(name, f"has the impossible size {size}")
    if kind == stat.S_IFDIR and not entry_path(name) and not name.startswith("/"):
        return  # `tar -C folder .` begins with the folder itself
    hard = info.type == tarfile.LNKTYPE
    mode = kind | stat.S_IMODE(info.mode) | (_HARD if hard else 0)
    if link:
        target = extended.get("linkpath", info.linkname)
        path = tree.add(name, kind, target, hard=hard)
        yield Entry(path, mode, iter([target.encode("utf-8", "surrogateescape")]))
        return
    path = tree.add(name, kind)
    content = stream.pieces(size)
    yield Entry(path, mode, content)
    for _ in content:
        pass
    stream.take(-size % _BLOCK)


def _header(stream: Stream, info: tarfile.TarInfo) -> bytes:
    if not 0 <= info.size <= _MAX_HEADER:
        raise tarfile.ReadError(f"a header of {info.size} bytes")
    data = stream.take(info.size)
    stream.take(-info.size % _BLOCK)
    return data


def _pax(data: bytes) -> dict[str, str]:
    """Return the records of a pax header that matter here.

    Each is `length key=value` and a newline, the length counting all of it.
    """
    records: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at]:
        digits = data[at : at + 8].split(b" ", 1)[0]
        if not digits.isdigit():
            raise tarfile.ReadError("a pax header without a length")
        end = at + int(digits)
        record = data[at + len(digits) + 1 : end]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if end > len(data) or not equals or not record.endswith(b"\n"):
            raise tarfile.ReadError("a pax header of the wrong length")
        if key in _PAX_KEYS:
            records[key.decode()] = value.decode("utf-8", "surrogateescape")
        at = end
    return records


def ungzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
        while chunk := unpacked.read(CHUNK):
            yield chunk


def unxz(file: BinaryIO) -> Iterator[bytes]:
    """Yield the unpacked bytes; an .xz may be several streams, one after another, with zeros between."""
    packed = file.read(CHUNK)
    while packed:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not decoder.eof:
            if decoder.needs_input and not packed:
                packed = file.read(CHUNK)
                if not packed:
                    raise EOFError("it ends in the middle of a stream")
            yield decoder.decompress(packed, CHUNK)
            packed = b""
        packed = decoder.unused_data.lstrip(b"\0")
        while not packed and (more := file.read(CHUNK)):
            packed = more.lstrip(b"\0")
