from pathlib import Path

import pytest

from raysvc.blobs.directory import DirectoryBlobs
from raysvc.ports import Blobs
from raysvc.testing.blobs import MemoryBlobs
from tests.small_disk import failing_disk, small_disk

__all__ = ["failing_disk", "small_disk"]


@pytest.fixture(params=["memory", "directory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return MemoryBlobs() if request.param == "memory" else DirectoryBlobs(tmp_path / "blobs")
