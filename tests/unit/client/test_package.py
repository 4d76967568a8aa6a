"""A package has the name that Ray's own client gives it, and holds the same entries."""

import contextlib
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray._private.runtime_env import packaging
from ray._private.runtime_env.working_dir import upload_working_dir_if_needed
from ray._private.thirdparty import pathspec as rays_pathspec

from raysvc.client import package
from raysvc.client.ignore import matcher
from raysvc.client.runtime_env import localise
from raysvc.errors import Invalid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "my code"
    files = {
        "train.py": "print(1)\n",
        "empty.txt": "",
        "data/big.bin": "x" * 10_000,
        "data/keep.csv": "a,b\n",
        "data/.rayignore": "*.bin\n!other.bin\n",
        "data/other.bin": "y",
        "pkg/__init__.py": "",
        "pkg/__pycache__/a.pyc": "z",
        "pkg/ünï.py": "# ünï\n",
        ".gitignore": "# a comment\n*.log\n/out/\nnotes/**/draft.md\n",
        "run.log": "noise",
        "out/result.txt": "r",
        "deep/out/result.txt": "kept",
        "notes/a/b/draft.md": "d",
        "notes/a/final.md": "f",
        ".git/HEAD": "ref",
        ".venv/bin/python": "no",
        "user.tmp": "t",
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "hollow").mkdir()
    (root / "link.py").symlink_to("train.py")
    os.utime(root / "train.py", (0, 0))  # before 1980, which a zip cannot say
    return root


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("excludes", [[], ["*.tmp"], ["pkg"], ["data/", "!data/keep.csv"]])
def test_a_working_dir_is_named_and_filled_as_by_ray(folder: Path, tmp_path: Path, excludes: list[str]) -> None:
    ours = package.working_dir(folder, excludes)
    uploaded: list[Path] = []

    def upload(path: str, excludes: list[str] | None, is_file: bool = False) -> None:
        assert not is_file
        target = tmp_path / "ray.zip"
        packaging.create_package(path, target, include_gitignore=True, excludes=excludes)
        uploaded.append(target)

    env = {"working_dir": str(folder), "excludes": excludes}
    theirs = upload_working_dir_if_needed(env, include_gitignore=True, upload_fn=upload)["working_dir"]
    assert ours.uri == theirs
    ours.write(tmp_path / "ours.zip")
    assert entries(tmp_path / "ours.zip") == entries(uploaded[0])


def test_what_ignore_files_and_defaults_keep_out_is_not_sent(folder: Path, tmp_path: Path) -> None:
    package.working_dir(folder, []).write(tmp_path / "p.zip")
    names = set(entries(tmp_path / "p.zip"))
    assert {"train.py", "link.py", "hollow/", "deep/out/result.txt", "data/other.bin", "empty.txt"} <= names
    assert not names & {"run.log", "out/result.txt", "data/big.bin", ".git/HEAD", "pkg/__pycache__/a.pyc"}


def test_the_variables_that_ray_reads_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    theirs = packaging.get_uri_for_directory(str(folder), include_gitignore=False, excludes=[])
    assert package.working_dir(folder, []).uri == theirs


def test_py_modules_are_named_as_by_ray(folder: Path, tmp_path: Path) -> None:
    module = package.py_module(folder / "pkg", [])
    assert module.uri == packaging.get_uri_for_directory(str(folder / "pkg"), include_gitignore=True, excludes=[])
    module.write(tmp_path / "m.zip")
    assert "pkg/__init__.py" in entries(tmp_path / "m.zip")
    single = package.py_module(folder / "train.py", [])
    assert single.uri == packaging.get_uri_for_file(str(folder / "train.py"))
    wheel = tmp_path / "a-1.0-py3-none-any.whl"
    wheel.write_bytes(b"w")
    assert package.py_module(wheel, []).uri == packaging.get_uri_for_package(wheel)


def test_an_archive_is_sent_as_it_is(tmp_path: Path) -> None:
    for name in ("code.zip", "code.tar.gz", "code.tgz", "code.tar.xz"):
        archive = tmp_path / name
        archive.write_bytes(name.encode())
        found = package.working_dir(archive, [])
        assert found.uri == packaging.get_uri_for_package(archive)
        found.write(tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == name.encode()


@pytest.mark.parametrize("name", ["missing", "train.py"])
def test_a_working_dir_that_is_none_is_refused_by_name(folder: Path, name: str) -> None:
    with pytest.raises(Invalid, match="neither a folder nor an archive") as caught:
        package.working_dir(folder / name, [])
    assert caught.value.field == "runtime_env.working_dir"


def test_a_pattern_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / ".rayignore").write_text("[z-a]\n")
    with pytest.raises(Invalid, match=r"\.rayignore: the pattern '\[z-a\]'"):
        package.working_dir(folder, [])


RaysPathSpec: Any = rays_pathspec.PathSpec  # type: ignore[attr-defined]
SEGMENT = st.text(alphabet="ab*?[]!^-\\#. ", max_size=4)
PATTERN = st.lists(st.one_of(SEGMENT, st.just("**")), min_size=1, max_size=4).map("/".join)
PATH = st.lists(st.text(alphabet="ab!#^-.", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PATTERN, max_size=3), PATH)
@pytest.mark.filterwarnings("ignore:Possible (nested set|set difference):FutureWarning")
def test_patterns_match_as_they_do_in_ray(lines: list[str], path: str) -> None:
    try:
        theirs = RaysPathSpec.from_lines("gitwildmatch", lines)
    except (re.error, IndexError):  # where Ray's client crashes, we refuse or take it as nothing
        with contextlib.suppress(Invalid):
            matcher(lines, source="test")
        return
    if path.startswith("./"):
        return  # Ray cuts "./" off; a path relative to its folder never has it
    assert matcher(lines, source="test")(path) == theirs.match_file(path)


def test_local_parts_of_a_runtime_env_become_what_a_server_can_use(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\nrequests>=2\n")
    (tmp_path / "env.yml").write_text("dependencies: [pip]\n")
    sent: list[package.Package] = []
    env = localise(
        {
            "working_dir": folder.name,
            "py_modules": [f"{folder.name}/pkg", "s3://bucket/m.zip"],
            "pip": "requirements.txt",
            "conda": "env.yml",
            "env_vars": {"A": "1"},
        },
        tmp_path,
        sent.append,
    )
    assert env["working_dir"] == sent[0].uri
    assert env["py_modules"] == [sent[1].uri, "s3://bucket/m.zip"]
    assert env["pip"] == ["numpy", "requests>=2"]
    assert env["conda"] == {"dependencies": ["pip"]}
    assert env["env_vars"] == {"A": "1"}


def test_uris_pass_through_untouched(tmp_path: Path) -> None:
    env = {"working_dir": "https://host/code.zip", "pip": ["numpy"], "conda": "my-env"}
    assert localise(env, tmp_path, lambda _: pytest.fail("nothing is local")) == env


def test_a_missing_requirements_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"runtime_env.pip names the file .*nope.txt"):
        localise({"pip": "nope.txt"}, tmp_path, lambda _: None)
