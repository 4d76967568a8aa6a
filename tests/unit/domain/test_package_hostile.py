"""Archives that are broken, that lie, or that want to hurt whoever unpacks them."""

import contextlib
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysvc.domain import package
from raysvc.errors import Invalid

from .archives import DIR, LNK, REG, TGZ, TXZ, ZIP, noise, refusal, tarred, zipped


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
