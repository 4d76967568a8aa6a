"""Archives made for tests, wrong ones too, and what is said of them."""

import hashlib
import io
import stat
import tarfile
import zipfile

import pytest

from raysvc.domain import package
from raysvc.domain.archive import ArchiveLimits
from raysvc.errors import Invalid

ZIP = "_ray_pkg_0123456789abcdef.zip"
TGZ = "0123456789abcdef0123456789abcdef01234567.tar.gz"
TXZ = "0123456789abcdef0123456789abcdef01234567.tar.xz"


def zipped(*entries: tuple[str, bytes, int], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename = info.orig_filename = name
            info.external_attr = mode << 16
            info.compress_type = method
            archive.NameToInfo.clear()  # or zipfile would warn of a second entry of a name
            archive.writestr(info, content)
    return out.getvalue()


def tarred(*members: tuple[str, bytes, str], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return out.getvalue()


def noise(size: int) -> bytes:
    return hashlib.shake_128(b"noise").digest(size)


def refusal(name: str, data: bytes, limits: ArchiveLimits | None = None) -> str:
    with pytest.raises(Invalid) as caught:
        package.digest(name, io.BytesIO(data), limits or package.DEFAULT_LIMITS)
    assert caught.value.field == "package"
    assert name in caught.value.message
    return caught.value.message


REG, LNK, DIR = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755
