"""HAProxy as it is one time in hundreds, on a busy machine: late, or in the middle of beginning anew."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from raysvc.backends.edge import HaproxyEdge, haproxy
from raysvc.bootstrap.clock import SystemClock


@pytest.fixture
def edge(tmp_path: Path) -> HaproxyEdge:
    return HaproxyEdge(tmp_path, "127.0.0.1", 0, "http://127.0.0.1:1", SystemClock())


def test_an_id_that_the_daemon_writes_late_is_waited_for(edge: HaproxyEdge, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("")
    late = threading.Timer(0.05, (tmp_path / "pid").write_text, [f"{os.getpid()}\n"])
    late.start()
    assert edge._born().pid == os.getpid()  # noqa: SLF001 it cannot be made late from outside
    late.join()


def test_a_master_that_hangs_up_is_told_again(edge: HaproxyEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[str | OSError] = iter([ConnectionResetError(104, "reset"), "", "Success=1\n"])

    def told(_path: str, _command: str) -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(haproxy, "_told", told)
    assert edge._tell("reload") == "Success=1\n"  # noqa: SLF001 as above
