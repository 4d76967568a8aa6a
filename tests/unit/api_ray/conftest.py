"""What the tests of Ray's API share."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.unit.api_ray.world import World


@pytest.fixture
async def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    await made.open()
    return made


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with an admin's token."""
    transport = httpx.ASGITransport(app=world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://front", headers=await world.bearer()) as made:
        yield made
