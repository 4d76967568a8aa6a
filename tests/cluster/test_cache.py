import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster import cache


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_thing_is_made_once() -> None:
    calls: list[Path] = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / "program").write_text("x")

    first, again = cache.made("thing", "key", make), cache.made("thing", "key", make)
    assert first == again
    assert (first / "program").read_text() == "x"
    assert len(calls) == 1


def test_another_key_is_another_thing() -> None:
    assert cache.made("thing", "one", lambda _: None) != cache.made("thing", "two", lambda _: None)


def test_what_failed_half_way_counts_as_not_made() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        cache.made("thing", "key", fail)
    folder = cache.made("thing", "key", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_of_two_builders_one_builds_and_the_other_takes_it() -> None:
    started, calls = threading.Event(), []

    def make(folder: Path) -> None:
        calls.append(folder)
        started.set()

    def build(_: int) -> Path:
        return cache.made("thing", "key", make)

    with ThreadPoolExecutor(4) as builders:
        folders = set(builders.map(build, range(4)))
    assert started.is_set()
    assert len(calls) == len(folders) == 1


def test_the_digest_tells_content_and_name_apart(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "a").write_text("bc")
    first = cache.digest(folder)
    (folder / "a").rename(folder / "ab")
    (folder / "ab").write_text("c")
    renamed = cache.digest(folder)
    (folder / "ab").write_text("d")
    assert len({first, renamed, cache.digest(folder)}) == 3


def test_the_digest_ignores_what_python_leaves_behind(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("x")
    before = cache.digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "module.pyc").write_text("y")
    assert cache.digest(tmp_path) == before


def test_the_digest_tells_where_one_text_ends() -> None:
    assert cache.digest("ab", "c") != cache.digest("a", "bc")
