"""What the tests of Ray's API share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import httpx
import pytest
import uvloop

from raysvc.api.cluster.upstream import Upstream
from tests.unit.api_ray.cluster import Ray
from tests.unit.api_ray.world import World


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run these tests on the loop that `raysvc up` runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def ray() -> Ray:
    """Return the cluster behind the front."""
    return Ray()


@pytest.fixture
async def world(tmp_path: Path, ray: Ray) -> World:
    made = World(tmp_path, Upstream(ray.transport))
    await made.open()
    return made


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with an admin's token."""
    transport = httpx.ASGITransport(app=world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://front", headers=await world.bearer()) as made:
        yield made
