"""Packages: their names on a cluster, programs as one, and what keeps their layout."""

import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename

from raysvc.backends.rayjob.archive import cluster_name, keep_top_folder, zip_program
from raysvc.domain.package import is_name
from raysvc.errors import Invalid

NAME = "_ray_pkg_0123456789abcdef.zip"


def test_a_cluster_name_depends_on_project_name_and_contents() -> None:
    names = {
        cluster_name(name, project, digest)
        for name in (NAME, "_ray_pkg_fedcba9876543210.zip")
        for project in ("a", "b")
        for digest in ("1" * 64, "2" * 64)
    }
    assert len(names) == 8
    assert cluster_name(NAME, "a", "1" * 64) == cluster_name(NAME, "a", "1" * 64)


@pytest.mark.parametrize("extension", [".zip", ".tar.gz", ".tgz", ".tar.xz"])
def test_the_kind_of_archive_stays(extension: str) -> None:
    name = cluster_name(f"_ray_pkg_0123456789abcdef{extension}", "a", "1" * 64)
    assert name.endswith(extension)
    assert is_name(name)


@pytest.mark.parametrize("wheel", ["lib-1.0-py3-none-any.whl", "my_lib-2.1+cpu-7-cp311-cp311-linux_x86_64.whl"])
def test_a_wheel_stays_one_that_pip_installs(wheel: str) -> None:
    name = cluster_name(wheel, "a", "1" * 64)
    assert name != cluster_name(wheel, "b", "1" * 64)
    distribution, version, build, tags = parse_wheel_filename(name)
    wanted_distribution, wanted_version, _, wanted_tags = parse_wheel_filename(wheel)
    assert (distribution, version, tags) == (wanted_distribution, wanted_version, wanted_tags)
    assert len("".join(map(str, build))) > 30


def test_a_program_is_the_same_bytes_each_time_and_keeps_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jobs" / "hello"
    (folder / "inner").mkdir(parents=True)
    (folder / "__pycache__").mkdir()
    for name in ("job.yaml", "__main__.py", "inner/part.py", "__pycache__/x.pyc"):
        (folder / name).write_text(name)
    monkeypatch.setattr("raysvc.payload.root", lambda: tmp_path)
    zip_program("hello", tmp_path / "1.zip")
    (folder / "job.yaml").touch()
    zip_program("hello", tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as opened:
        assert set(opened.namelist()) == {"hello/job.yaml", "hello/__main__.py", "hello/inner/part.py"}
    with pytest.raises(Invalid, match="hello"):
        zip_program("bye", tmp_path / "3.zip")


def test_a_marker_stands_beside_a_lone_top_folder_of_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "draft"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("top/file", "content")
    keep_top_folder(path, "x.zip")
    with zipfile.ZipFile(path) as opened:
        assert opened.namelist() == ["top/file", ".raysvc"]
        assert opened.read("top/file") == b"content"


@pytest.mark.parametrize("extension", ["tar.gz", "tgz", "tar.xz"])
def test_a_marker_stands_beside_a_lone_top_folder_of_a_tar(tmp_path: Path, extension: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as opened:
        entry = tarfile.TarInfo("top/file")
        entry.size = 7
        opened.addfile(entry, io.BytesIO(b"content"))
    path = tmp_path / "draft"
    raw = packed.getvalue()
    if extension == "tar.xz":
        path.write_bytes(lzma.compress(raw))
    else:
        with tarfile.open(path, "w:gz") as again:
            again.addfile(entry, io.BytesIO(b"content"))
    keep_top_folder(path, f"x.{extension}")
    with tarfile.open(path, "r:*") as opened:
        assert opened.getnames() == [".raysvc", "top/file"]
        member = opened.extractfile("top/file")
        assert member
        assert member.read() == b"content"


def test_a_wheel_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "draft"
    path.write_bytes(b"any bytes")
    keep_top_folder(path, "lib-1.0-py3-none-any.whl")
    assert path.read_bytes() == b"any bytes"
