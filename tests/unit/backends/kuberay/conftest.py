"""A backend on a fake API server, by a kubeconfig as a user has one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from raysvc.backends.kuberay import KubeBackend, KubeConfig
from tests.contract.backend.lab import MemoryMaterials, SystemClock
from tests.unit.backends.kuberay.fake_api import FakeApi, serving
from tests.unit.backends.kuberay.scene import INSTANCE, Scene


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeApi]:
    async with serving() as api:
        yield api


@pytest.fixture
def kubeconfig(fake: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    context = {"name": "dev", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": fake.url}}],
                "users": [{"name": "u", "user": {"token": "ours"}}],
                "contexts": [context],
                "current-context": "dev",
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest_asyncio.fixture
async def scene(fake: FakeApi, kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Scene]:
    assert kubeconfig.name == "kubeconfig"
    materials = MemoryMaterials()
    backend = KubeBackend(KubeConfig(data_dir=tmp_path), INSTANCE, materials, SystemClock())
    await backend.start()
    try:
        yield Scene(fake, backend, materials)
    finally:
        await backend.close()
