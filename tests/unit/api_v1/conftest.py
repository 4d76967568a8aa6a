"""What the tests of the front share."""

from pathlib import Path

import pytest

from tests.unit.api_v1.world import World


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    await made.open()
    return made
