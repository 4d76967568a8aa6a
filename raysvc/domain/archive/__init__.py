"""Reads uploaded archives as untrusted input: streaming, within limits, and only what is safe to unpack anywhere.

Pure over a seekable binary file: nothing is unpacked to disk, and no file but the given one is read.
"""

import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

from raysvc.domain.archive.entry import ArchiveLimits, Entry, Meter
from raysvc.domain.archive.tar import Stream, tar_entries, ungzip, unxz
from raysvc.domain.archive.tree import Tree
from raysvc.domain.archive.zip import zip_entries
from raysvc.errors import Invalid

__all__ = ["ArchiveLimits", "Entry", "entries"]

# What the libraries raise for files they cannot make sense of; zipfile is the one with the many.
_UNREADABLE = (
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def entries(package: str, file: BinaryIO, limits: ArchiveLimits) -> Iterator[Entry]:
    """Yield the entries of a .zip, .whl, .tar.gz, .tgz or .tar.xz. `package` tells the kind and names it in errors.

    Raises Invalid as soon as something is wrong, at the latest after the last entry: read to the end.
    """
    packed = file.seek(0, 2)
    file.seek(0)
    if packed == 0:
        raise Invalid(f"Package {package} is empty (0 bytes). Upload it again.", field="package")
    meter = Meter(package, packed, limits)
    tree = Tree(package)
    with _readable(package):
        if package.endswith((".zip", ".whl")):
            found = zip_entries(file, meter, tree)
        else:
            found = tar_entries(Stream(unxz(file) if package.endswith(".tar.xz") else ungzip(file), meter), meter, tree)
        for entry in found:
            yield replace(entry, chunks=_guarded(package, entry.chunks))
    tree.check()


@contextmanager
def _readable(package: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        why = str(error) or type(error).__name__
        raise Invalid(
            f"Package {package} is cut short or corrupt ({why}). Upload it again.", field="package"
        ) from error


def _guarded(package: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    with _readable(package):
        yield from chunks
