"""Archives that want all the memory, disk or time there is."""

import gzip
import io
import lzma
import re
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from raysvc.domain import package
from raysvc.domain.archive import ArchiveLimits
from raysvc.errors import Invalid

from .archives import REG, TGZ, TXZ, ZIP, noise, refusal, tarred, zipped

SMALL = ArchiveLimits(entries=10, size=5 << 20, ratio=20, ratio_from=1 << 20)


@pytest.mark.parametrize(
    ("name", "bomb"),
    [
        (ZIP, zipped(("zeros", bytes(4 << 20), REG), method=zipfile.ZIP_DEFLATED)),
        (TGZ, gzip.compress(bytes(512) * 8192)),
        (TXZ, lzma.compress(bytes(512) * 8192)),
    ],
    ids=["zip", "gz", "xz"],
)
def test_a_decompression_bomb_is_refused_by_its_ratio(name: str, bomb: bytes) -> None:
    assert "more than 20 times its size" in refusal(name, bomb, SMALL)


def test_an_archive_that_unpacks_to_too_much_or_too_many_is_refused() -> None:
    big = zipped(("a", noise(3 << 20), REG), ("b", noise(3 << 20), REG))
    assert re.search(r"unpacks to more than 0\.00\d+ GiB", refusal(ZIP, big, SMALL))
    many = zipped(*((f"f{n}", b"", REG) for n in range(11)))
    assert "has more than 10 entries" in refusal(ZIP, many, SMALL)
    members = ((f"f{n}", tarfile.REGTYPE, "") for n in range(11))
    assert "has more than 10 entries" in refusal(TGZ, gzip.compress(tarred(*members)), SMALL)


def test_memory_stays_small_whatever_the_size() -> None:
    content = noise(1 << 20) * 32
    archives = {
        ZIP: io.BytesIO(zipped(("a", content, REG))),
        TGZ: io.BytesIO(gzip.compress(_tar_of(content), 1)),
    }
    for name, file in archives.items():
        tracemalloc.start()
        try:
            package.digest(name, file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 16 << 20, name


def _tar_of(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_a_tar_header_that_asks_for_gigabytes_costs_nothing() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    assert "a header of 8589934592 bytes" in refusal(TGZ, gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    info.type, info.size = tarfile.REGTYPE, 8 << 30
    assert "ends in the middle" in refusal(TGZ, gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(9000)))


def test_a_zip_directory_that_asks_for_gigabytes_costs_nothing() -> None:
    size = 60 << 20
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, size, 0, 0)
    file = io.BytesIO(bytes(size) + end)
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="its directory is too large"):
            package.digest(ZIP, file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_an_xz_that_asks_for_gigabytes_of_dictionary_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 4096}]
    data = bytearray(lzma.compress(tarred(), filters=filters))
    # The block header: size, flags, filter id, properties' size, the dictionary's size code, padding, CRC-32.
    assert data[14:16] == b"\x21\x01"
    data[16] = 38  # 2^31 bytes
    data[20:24] = zlib.crc32(data[12:20]).to_bytes(4, "little")
    assert "emory" in refusal(TXZ, bytes(data))
