"""Package names and references, and when two archives are the same package."""

import gzip
import importlib
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysvc.domain import package
from raysvc.errors import Invalid

FOLDER = "_ray_pkg_0123456789abcdef.zip"
SHA1 = "0123456789abcdef0123456789abcdef01234567"
TGZ = f"_ray_pkg_{SHA1}.tar.gz"
TXZ = f"_ray_pkg_{SHA1}.tar.xz"
Files = Mapping[str, bytes]


def make_zip(
    files: Files, *, year: int = 2024, mode: int = 0o644, method: int = zipfile.ZIP_STORED, backwards: bool = False
) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name in sorted(files, reverse=backwards):
            info = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
            info.external_attr = (stat.S_IFREG | mode) << 16
            info.compress_type = method
            archive.writestr(info, files[name])
    return out


def make_tar(files: Files, *, mtime: int = 0, form: int = tarfile.PAX_FORMAT, owner: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode, info.uname = len(content), mtime, 0o644, owner
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        FOLDER,
        TGZ,
        TXZ,
        f"_ray_pkg_{SHA1}.zip",
        f"{SHA1}.tgz",
        "_ray_pkg_029f88d5ecc55e1e4d64fc6e388fd103.zip",
        "torch-2.0.1+cu118-cp311-cp311-linux_x86_64.whl",
        "my_pkg-1!2.0-1-py3-none-any.whl",
        "numpy-2.3.5-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    ],
)
def test_names_of_rays_clients_are_taken(name: str) -> None:
    package.check_name("gcs", name)


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        ("s3", FOLDER),
        ("GCS", FOLDER),
        ("gcs", "../../etc/passwd"),
        ("gcs", "_ray_pkg_0123456789ABCDEF.zip"),
        ("gcs", "_ray_pkg_0123456789abcdef.zip\n"),
        ("gcs", "_ray_pkg_0123456789abcdef.tar.bz2"),
        ("gcs", "_ray_pkg_.zip"),
        ("gcs", "data.zip"),
        ("gcs", "x.whl"),
        ("gcs", "a/b-1.0-py3-none-any.whl"),
        ("gcs", "a" * 250 + "-1.0-py3-none-any.whl"),
        ("gcs", ""),
    ],
)
def test_other_names_are_refused_with_what_is_allowed(protocol: str, name: str) -> None:
    with pytest.raises(Invalid, match=r"not a package name|under the protocol") as caught:
        package.check_name(protocol, name)
    assert caught.value.field in {"protocol", "package_name"}


@pytest.mark.ray
def test_names_agree_with_what_rays_own_client_makes(tmp_path: Path) -> None:
    packaging = importlib.import_module("ray._private.runtime_env.packaging")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("print(1)")
    archives = [tmp_path / name for name in ("a.zip", "b.tar.gz", "c.tgz", "d.tar.xz", "my_pkg-1.0-py3-none-any.whl")]
    for archive in archives:
        archive.write_bytes(b"anything")
    uris = [packaging.get_uri_for_package(archive) for archive in archives]
    uris.append(packaging.get_uri_for_directory(str(tmp_path / "src"), include_gitignore=True))
    for uri in uris:
        protocol, name = uri.split("://")
        package.check_name(protocol, name)


def test_references_are_found_in_order_and_once() -> None:
    runtime_env = {
        "py_modules": [f"gcs://{TGZ}", "s3://bucket/x.zip"],
        "working_dir": f"gcs://{FOLDER}",
        "pip": {"packages": ["requests", "gcs://my_pkg-1.0-py3-none-any.whl"]},
        "config": {"deep": [{"er": f"gcs://{FOLDER}"}]},
    }
    assert package.uris_of(runtime_env) == [TGZ, FOLDER, "my_pkg-1.0-py3-none-any.whl"]


def test_a_google_bucket_in_the_environment_is_not_a_package() -> None:
    assert package.uris_of({"env_vars": {"DATA": "gcs://bucket/corpus.zip", "N": "1"}, "pip": None, "n": 3}) == []


@pytest.mark.parametrize("field", ["working_dir", "py_modules"])
def test_a_bucket_as_working_dir_is_refused_since_gcs_means_uploads(field: str) -> None:
    with pytest.raises(Invalid, match="uploaded to this server") as caught:
        package.uris_of({field: ["gcs://bucket/code.zip"]})
    assert caught.value.field == f"runtime_env.{field}"


FILES = {"train.py": b"print('hi')\n" * 100, "pkg/__init__.py": b"", "pkg/data.bin": bytes(range(256)) * 40}


def test_same_entries_with_other_times_order_and_compression_are_the_same_package() -> None:
    first = package.digest(FOLDER, make_zip(FILES))
    assert package.digest(FOLDER, make_zip(FILES)) == first, "it may be repeated"
    assert package.digest(FOLDER, make_zip(FILES, year=1999)) == first
    assert package.digest(FOLDER, make_zip(FILES, backwards=True)) == first
    assert package.digest(FOLDER, make_zip(FILES, method=zipfile.ZIP_DEFLATED)) == first


@pytest.mark.parametrize(
    "other",
    [
        make_zip(FILES | {"train.py": b"print('evil')"}),
        make_zip(FILES | {"new": b""}),
        make_zip({name: content for name, content in FILES.items() if name != "pkg/__init__.py"}),
        make_zip(FILES, mode=0o755),
        make_zip({f"{name}x": content for name, content in FILES.items()}),
    ],
    ids=["content", "one more", "one less", "modes", "names"],
)
def test_anything_else_that_differs_makes_another_package(other: io.BytesIO) -> None:
    assert package.digest(FOLDER, other) != package.digest(FOLDER, make_zip(FILES))


def test_tars_are_the_same_whatever_wrapped_them() -> None:
    plain = make_tar(FILES)
    first = package.digest(TGZ, io.BytesIO(gzip.compress(plain)))
    assert package.digest(TXZ, io.BytesIO(lzma.compress(plain))) == first
    assert package.digest(TGZ, io.BytesIO(gzip.compress(make_tar(FILES, mtime=12345, owner="ada"), 1))) == first
    assert package.digest(f"{SHA1}.tgz", io.BytesIO(gzip.compress(make_tar(FILES, form=tarfile.GNU_FORMAT)))) == first
    assert package.digest(TGZ, io.BytesIO(gzip.compress(make_tar(FILES | {"a": b"b"})))) != first


def test_concatenated_streams_are_read_to_their_end() -> None:
    plain = make_tar(FILES)
    first = package.digest(TGZ, io.BytesIO(gzip.compress(plain)))
    halves = plain[:1000], plain[1000:]
    assert package.digest(TGZ, io.BytesIO(b"".join(map(gzip.compress, halves)))) == first
    padded = lzma.compress(halves[0]) + bytes(8) + lzma.compress(halves[1]) + bytes(4)
    assert package.digest(TXZ, io.BytesIO(padded)) == first


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_of_either_tar_dialect_are_read(form: int) -> None:
    name = "folder/" * 40 + "é" * 60
    digest = package.digest(TGZ, io.BytesIO(gzip.compress(make_tar({name: b"x", "after": b"y"}, form=form))))
    assert digest == package.digest(TGZ, io.BytesIO(gzip.compress(make_tar({"after": b"y", name: b"x"}))))


def test_folders_links_and_modes_count_in_a_tar() -> None:
    def digest(kind: bytes, target: str, mode: int = 0o644) -> str:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo("file"))
            info = tarfile.TarInfo("other")
            info.type, info.linkname, info.mode = kind, target, mode
            archive.addfile(info)
        return package.digest(TGZ, out)

    made = [
        digest(tarfile.REGTYPE, ""),
        digest(tarfile.REGTYPE, "", 0o755),
        digest(tarfile.DIRTYPE, ""),
        digest(tarfile.SYMTYPE, "file"),
        digest(tarfile.SYMTYPE, "./file"),
        digest(tarfile.LNKTYPE, "file"),
    ]
    assert len(set(made)) == len(made)


def test_a_tar_of_a_folder_itself_and_a_wheel_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").write_text("1")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.add(tmp_path, arcname=".")
    package.digest(TGZ, out)
    package.digest("my_pkg-1.0-py3-none-any.whl", make_zip(FILES, method=zipfile.ZIP_DEFLATED))


@pytest.mark.ray
def test_a_folder_zipped_by_rays_client_on_two_days_is_one_package(tmp_path: Path) -> None:
    packaging = importlib.import_module("ray._private.runtime_env.packaging")
    folder = tmp_path / "src"
    (folder / "empty").mkdir(parents=True)
    (folder / "train.py").write_text("print(1)")
    digests = []
    for day in (1_000_000_000, 1_700_000_000):
        (folder / "train.py").touch()
        archive = tmp_path / f"{day}.zip"
        packaging.create_package(str(folder), archive, include_gitignore=True)
        with archive.open("rb") as file:
            digests.append(package.digest(FOLDER, file))
    assert digests[0] == digests[1]


segments = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="/\\\0:\r\n"), min_size=1, max_size=12)
names = segments.filter(lambda segment: segment not in {".", ".."}).map(lambda segment: f"d/{segment}")
files = st.dictionaries(names, st.binary(max_size=200), max_size=8)


@given(files, st.integers(1980, 2100), st.booleans(), st.randoms(use_true_random=False))
def test_the_digest_depends_on_the_entries_alone(entries: Files, year: int, deflate: bool, random: object) -> None:
    shuffled = list(entries.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    first = package.digest(FOLDER, make_zip(entries))
    assert package.digest(FOLDER, make_zip(dict(shuffled), year=year, method=method)) == first
    packed = gzip.compress(make_tar(dict(shuffled), mtime=year))
    assert package.digest(TGZ, io.BytesIO(packed)) == package.digest(TXZ, io.BytesIO(lzma.compress(make_tar(entries))))


@given(files, files)
def test_different_entries_never_share_a_digest(one: Files, other: Files) -> None:
    same = package.digest(FOLDER, make_zip(one)) == package.digest(FOLDER, make_zip(other))
    assert same == (one == other)
