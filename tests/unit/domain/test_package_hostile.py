"""Archives that are broken, that lie, or that want to hurt whoever unpacks them."""

import contextlib
import gzip
import hashlib
import io
import lzma
import re
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("name", [ZIP, TGZ, TXZ, "a-1.0-py3-none-any.whl"])
def test_an_empty_upload_is_refused(name: str) -> None:
    assert "is empty (0 bytes). Upload it again." in refusal(name, b"")


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        (ZIP, zipped(("a", b"x" * 3000, REG), ("b", b"y" * 3000, REG))),
        (ZIP, zipped(("a", noise(3000), REG), method=zipfile.ZIP_DEFLATED)),
        (TGZ, gzip.compress(tarred(("a", tarfile.REGTYPE, ""), ("b", tarfile.REGTYPE, "")))),
        (TXZ, lzma.compress(tarred(("a", tarfile.REGTYPE, ""), ("b", tarfile.REGTYPE, "")))),
    ],
    ids=["zip", "deflated zip", "tar.gz", "tar.xz"],
)
def test_a_truncated_upload_is_refused_wherever_it_ends(name: str, whole: bytes) -> None:
    package.digest(name, io.BytesIO(whole))
    for end in range(1, len(whole), max(1, len(whole) // 97)):
        assert "is cut short or corrupt" in refusal(name, whole[:end])


def test_a_tar_that_was_cut_before_it_was_packed_is_refused() -> None:
    whole = tarred(("a", tarfile.REGTYPE, ""), ("b", tarfile.REGTYPE, ""))
    for end in (512, 1024, 1000):
        assert "is cut short or corrupt" in refusal(TGZ, gzip.compress(whole[:end]))


def test_a_damaged_header_in_the_middle_of_a_tar_is_not_taken_for_its_end() -> None:
    whole = bytearray(tarred(("a", tarfile.REGTYPE, ""), ("b", tarfile.REGTYPE, "")))
    whole[512 + 150] ^= 0xFF
    assert "is cut short or corrupt" in refusal(TGZ, gzip.compress(whole))


def test_data_after_a_tars_end_is_refused() -> None:
    assert "data after its end" in refusal(TGZ, gzip.compress(tarred() + b"more"))


def test_changed_bytes_are_noticed_by_the_checksum() -> None:
    data = bytearray(zipped(("a", b"print('good')", REG)))
    at = data.index(b"good")
    data[at : at + 4] = b"evil"
    assert "Bad CRC-32" in refusal(ZIP, bytes(data))


def test_other_files_are_not_archives() -> None:
    for name in (ZIP, TGZ, TXZ):
        assert "is cut short or corrupt" in refusal(name, b"#!/bin/sh\necho this is no archive\n" * 100)
    assert "is cut short or corrupt" in refusal(TGZ, zipped(("a", b"", REG)))


PATHS = {
    "/etc/cron.d/x": "has an absolute path",
    "C:/windows/x": "has an absolute path",
    "../x": "climbs out by '..'",
    "a/../../x": "climbs out by '..'",
    "a/..": "climbs out by '..'",
    "..": "climbs out by '..'",
    "a\\..\\..\\x": "has a backslash in its name",
    "a/" * 3000 + "x": "has too long a path",
}


@pytest.mark.parametrize(("path", "why"), PATHS.items(), ids=lambda value: value[:12])
def test_an_entry_that_climbs_out_is_refused_by_name(path: str, why: str) -> None:
    for message in (
        refusal(ZIP, zipped(("fine", b"", REG), (path, b"", REG))),
        refusal(TGZ, gzip.compress(tarred(("fine", tarfile.REGTYPE, ""), (path, tarfile.REGTYPE, "")))),
        refusal(TGZ, gzip.compress(tarred((path, tarfile.REGTYPE, ""), form=tarfile.GNU_FORMAT))),
    ):
        assert why in message
        assert repr(path[:200])[1:-1] in message


def test_a_nul_byte_in_a_name_is_refused() -> None:
    assert "has a NUL byte in its name" in refusal(ZIP, zipped(("good.py\0.png", b"", REG)))
    assert "has no name" in refusal(ZIP, zipped(("./", b"", DIR)))


def test_an_entry_without_a_name_is_refused() -> None:
    data = bytearray(zipped(("a", b"x", REG)))
    for signature, at in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):
        lengths = data.index(signature) + at
        data[lengths : lengths + 4] = struct.pack("<2H", 0, 1)  # the name's one byte becomes an extra field
    assert "the entry '' has no name" in refusal(ZIP, bytes(data))


@pytest.mark.parametrize("twin", ["a", "./a", "a/", ".//a"])
def test_a_name_that_is_there_twice_is_refused(twin: str) -> None:
    assert "is there twice" in refusal(ZIP, zipped(("a", b"one", REG), (twin, b"two", REG)))
    kind = tarfile.DIRTYPE if twin.endswith("/") else tarfile.REGTYPE
    assert "is there twice" in refusal(TGZ, gzip.compress(tarred(("a", tarfile.REGTYPE, ""), (twin, kind, ""))))


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("a", "/etc/passwd"),
        ("a", ".."),
        ("a", "../x"),
        ("d/a", "../../x"),
        ("d/a", "b/../../../x"),
        ("a", "C:/x"),
        ("a", "..\\x"),
        ("a", "a"),
    ],
)
def test_a_symlink_that_leads_out_is_refused(link: str, target: str) -> None:
    assert "is a symlink to" in refusal(ZIP, zipped((link, target.encode(), LNK)))
    assert "is a symlink to" in refusal(TGZ, gzip.compress(tarred((link, tarfile.SYMTYPE, target))))


@pytest.mark.parametrize(
    ("link", "target"), [("a", "b"), ("a", "d/b"), ("d/a", "../b"), ("d/e/a", "../../b"), ("a", "."), ("d/a", "..")]
)
def test_a_symlink_inside_is_taken(link: str, target: str) -> None:
    package.digest(ZIP, io.BytesIO(zipped((link, target.encode(), LNK))))
    package.digest(TGZ, io.BytesIO(gzip.compress(tarred((link, tarfile.SYMTYPE, target)))))


def test_symlinks_that_lead_out_only_together_are_refused() -> None:
    # Read by itself, deep/b is `deep/up/..`, which looks like `deep`; but up is the root, so it is the root's parent.
    chain = zipped(("deep/up", b"..", LNK), ("deep/b", b"up/..", LNK))
    assert "climbs out of the package" in refusal(ZIP, chain)
    loop = zipped(("a", b"b", LNK), ("b", b"a", LNK))
    assert "climbs out of the package" in refusal(ZIP, loop)


def test_an_entry_below_a_symlink_or_file_is_refused_in_either_order() -> None:
    for entries in ([("d", b".", LNK), ("d/x", b"", REG)], [("d/x", b"", REG), ("d", b".", LNK)]):
        assert "lies below 'd', which is not a folder" in refusal(ZIP, zipped(*entries))
    assert "lies below 'd'" in refusal(ZIP, zipped(("d", b"", REG), ("d/e/x", b"", REG)))


def test_hard_links_lead_only_to_earlier_files_of_the_archive() -> None:
    fine = tarred(("a", tarfile.REGTYPE, ""), ("b", tarfile.LNKTYPE, "a"))
    package.digest(TGZ, io.BytesIO(gzip.compress(fine)))
    for target in ("c", "d"):
        members = (("d", tarfile.DIRTYPE, ""), ("b", tarfile.LNKTYPE, target), ("c", tarfile.REGTYPE, ""))
        assert "is no file before it" in refusal(TGZ, gzip.compress(tarred(*members)))
    assert "climbs out" in refusal(TGZ, gzip.compress(tarred(("b", tarfile.LNKTYPE, "../etc/passwd"))))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE, b"Z"])
def test_devices_pipes_and_unknown_kinds_are_refused(kind: bytes) -> None:
    assert "is not a file, folder or link" in refusal(TGZ, gzip.compress(tarred(("a", kind, ""))))


def test_a_device_in_a_zip_is_refused() -> None:
    assert "is not a file, folder or symlink" in refusal(ZIP, zipped(("a", b"", stat.S_IFCHR | 0o666)))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_cannot_be_read_in_pieces_is_refused(method: int) -> None:
    assert "use deflate or store" in refusal(ZIP, zipped(("a", b"x", REG), method=method))


def test_an_encrypted_entry_is_refused() -> None:
    data = bytearray(zipped(("a", b"x", REG)))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + at] |= 1
    assert "is encrypted" in refusal(ZIP, bytes(data))


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


@pytest.mark.parametrize(
    "record",
    [
        b"99 path=x\n",
        b"x path=y\n",
        b"10 path\n",
        b"0 =\n",
        b"3 =",
        b"9999999 path=a\n",
        b"-5 a=b\n",
        b"11 size=-1\n\n",
    ],
)
def test_a_malformed_pax_record_is_refused(record: bytes) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, len(record)
    data = header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0") + tarred(("a", tarfile.REGTYPE, ""))
    refusal(TGZ, gzip.compress(data))


def test_a_global_pax_header_may_comment_but_not_rename() -> None:
    def with_header(record: bytes) -> bytes:
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.XGLTYPE, len(record)
        return gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0") + tarred())

    package.digest(TGZ, io.BytesIO(with_header(b"20 comment=a commit\n")))
    assert "gives all entries one name" in refusal(TGZ, with_header(b"13 path=../x\n"))


SEEDS = {
    ZIP: zipped(("d/a", b"x" * 50, REG), ("l", b"d/a", LNK), method=zipfile.ZIP_DEFLATED),
    TGZ: tarred(("é" * 120, tarfile.REGTYPE, ""), ("l", tarfile.SYMTYPE, "a"), ("d", tarfile.DIRTYPE, "")),
}
changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@given(st.sampled_from(sorted(SEEDS)), changes)
def test_whatever_bytes_change_the_answer_is_a_digest_or_invalid(name: str, edits: list[tuple[float, int]]) -> None:
    data = bytearray(SEEDS[name])
    for where, value in edits:
        data[int(where * len(data))] = value
    packed = bytes(data) if name == ZIP else gzip.compress(data, 1)
    with contextlib.suppress(Invalid):
        assert len(package.digest(name, io.BytesIO(packed))) == 64


@given(st.sampled_from([ZIP, TGZ, TXZ]), st.binary(max_size=400))
def test_noise_is_refused(name: str, data: bytes) -> None:
    packed = {ZIP: data, TGZ: gzip.compress(data), TXZ: lzma.compress(data)}[name]
    refusal(name, packed)
