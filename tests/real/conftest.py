"""A server as its users start it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .platform_process import PlatformProcess


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PlatformProcess]:
    process = PlatformProcess(tmp_path / "data")
    try:
        yield process
    finally:
        process.stop()
