"""How many connections there is room for, and who goes first."""

import resource

import pytest

from raysvc.api import room


class Connection:
    def __init__(self, idle_since: float | None) -> None:
        self.idle_since = idle_since

    def drop(self) -> None:
        self.idle_since = None


@pytest.mark.parametrize(
    ("soft", "most"),
    [(1024, 384), (256, room.FEWEST), (20_256, 10_000), (1 << 20, room.MOST), (resource.RLIM_INFINITY, room.MOST)],
)
def test_two_origins_share_the_files_that_are_left(monkeypatch: pytest.MonkeyPatch, soft: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert room.most_connections() == most


@pytest.mark.parametrize(
    ("soft", "hard", "wanted"),
    [
        (1024, 524_288, (room.WANTED_FILES, 524_288)),
        (1024, 4096, (4096, 4096)),
        (1024, resource.RLIM_INFINITY, (room.WANTED_FILES, resource.RLIM_INFINITY)),
        (1 << 20, 1 << 20, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_the_limit_of_files_is_raised_as_far_as_it_may_be(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: tuple[int, int] | None
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    room.raise_limit()
    assert calls == ([] if wanted is None else [wanted])


def test_a_system_that_refuses_keeps_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, _limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    room.raise_limit()


def test_the_one_that_has_owed_a_request_the_longest_goes_first() -> None:
    busy, old, young = Connection(None), Connection(1.0), Connection(2.0)
    assert room.longest_idle([busy, young, old, object()]) is old
    assert room.longest_idle([busy, object()]) is None
