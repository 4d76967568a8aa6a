"""The labs: one on the fake, one on a real Ray that all tests of this folder share."""

from collections.abc import AsyncIterator
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


@pytest.fixture(params=["fake", pytest.param("local", marks=pytest.mark.ray)])
def lab(request: pytest.FixtureRequest) -> Lab:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Lab)
    return found
