import os
from pathlib import Path

import pytest
import spool
from spool import SpoolReader, SpoolWriter


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "FILE_BYTES", 100)


def write(writer: SpoolWriter, count: int) -> None:
    for _ in range(count):
        writer.append("k", b"r", 1.5, (200, 1, 2, False))


def sequences(reader: SpoolReader) -> list[int]:
    return [entry.sequence for entry in reader.entries()]


@pytest.mark.usefixtures("small_files")
def test_what_is_forgotten_is_not_read_again_and_its_files_go(tmp_path: Path) -> None:
    writer, reader = SpoolWriter(tmp_path), SpoolReader(tmp_path)
    write(writer, 20)
    assert sequences(reader) == list(range(1, 21))
    files = len(list(tmp_path.iterdir()))
    reader.forget(12)
    assert sequences(reader) == list(range(13, 21))
    assert 1 <= len(list(tmp_path.iterdir())) < files
    write(writer, 1)
    assert sequences(reader) == list(range(13, 22))
    writer.close()


@pytest.mark.usefixtures("small_files")
def test_a_reader_that_comes_later_finds_all_that_was_not_forgotten(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    write(writer, 20)
    SpoolReader(tmp_path).forget(20)
    write(writer, 3)
    assert sequences(SpoolReader(tmp_path))[-3:] == [21, 22, 23]
    writer.close()


def test_a_line_that_is_half_written_is_left_for_later(tmp_path: Path) -> None:
    writer, reader = SpoolWriter(tmp_path), SpoolReader(tmp_path)
    write(writer, 2)
    writer.close()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert sequences(reader) == [1]
    file.write_bytes(whole)
    assert sequences(reader) == [1, 2]


def test_a_full_disk_delays_an_entry_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = SpoolWriter(tmp_path), SpoolReader(tmp_path)

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        write(writer, 2)
    assert sequences(reader) == []
    write(writer, 1)
    assert sequences(reader) == [1, 2, 3]
    writer.close()


def test_sequences_go_on_where_an_earlier_writer_ended(tmp_path: Path) -> None:
    first = SpoolWriter(tmp_path)
    write(first, 2)
    first.close()
    second = SpoolWriter(tmp_path)
    write(second, 1)
    second.close()
    assert sequences(SpoolReader(tmp_path)) == [1, 2, 3]
