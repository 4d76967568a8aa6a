"""A server as its users start it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .platform_process import PlatformProcess
from .tiny_model import make_model


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PlatformProcess]:
    process = PlatformProcess(tmp_path / "data")
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture
def model() -> Iterator[Path]:
    """Make a model where the user that Ray runs as can read it: pytest's own folders are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="raysvc-model-"))
    folder.chmod(0o755)
    try:
        yield make_model(folder / "tiny")
    finally:
        shutil.rmtree(folder)
