"""The labs: one on the fake, and by kind of driver two on a real Ray that all tests of this folder share."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from raysvc.backends.local import LocalConfig
from raysvc.testing.backend import FakeBackend
from raysvc.testing.clock import FakeClock
from tests.contract.backend.lab import Lab, MemoryMaterials, running


@pytest_asyncio.fixture(loop_scope="session")
async def fake() -> AsyncIterator[Lab]:
    clock, materials = FakeClock(), MemoryMaterials()
    backend = FakeBackend(clock, materials)
    await backend.start()
    yield Lab(backend, clock, materials, clock.run)
    await backend.close()


@pytest.fixture(scope="session")
def local_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data directory of the `local` lab."""
    return tmp_path_factory.mktemp("local")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def local(local_dir: Path) -> AsyncIterator[Lab]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("RAYSVC_TOKEN", "RAYSVC_URL", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "not for jobs")
        async with running(LocalConfig(data_dir=local_dir)) as lab:
            yield lab


@pytest.fixture
def warm(local: Lab) -> Lab:
    """Return the local lab whose jobs run under warm drivers."""
    return replace(local, driver="warm")


@pytest.fixture(params=["local", "warm"])
def either(request: pytest.FixtureRequest) -> Lab:
    """Return the local lab by either kind of driver: what a job sees must be the same."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Lab)
    return found


@pytest.fixture(params=["fake", *(pytest.param(name, marks=pytest.mark.ray) for name in ("local", "warm"))])
def lab(request: pytest.FixtureRequest) -> Lab:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Lab)
    return found
