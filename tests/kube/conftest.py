"""The backend on a real Kubernetes with the real operator: that of `tests/cluster`, or of $RAYSVC_TEST_KUBECONFIG."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from raysvc.backends.kuberay import KubeBackend, KubeConfig
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.resources import Resources
from tests.cluster.fixture import kubernetes  # noqa: F401 a fixture
from tests.cluster.plan import RAY_IMAGE
from tests.contract.backend.lab import Lab, MemoryMaterials, SystemClock
from tests.kube.lab import KubeLab

INSTANCE = f"test-{os.getpid()}"


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """Return the kubeconfig of a cluster that has KubeRay."""
    named = os.environ.get("RAYSVC_TEST_KUBECONFIG")
    return Path(named) if named else Path(request.getfixturevalue("kubernetes").kubeconfig)


@pytest.fixture(scope="session")
def ray_image(kubeconfig: Path) -> str:
    """Return the image of Ray that the cluster has: the test cluster's own, or $RAYSVC_TEST_RAY_IMAGE."""
    assert kubeconfig.exists()
    return os.environ.get("RAYSVC_TEST_RAY_IMAGE", RAY_IMAGE)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(kubeconfig: Path, ray_image: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    clock, materials = SystemClock(), MemoryMaterials()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(kubeconfig))
        # So that two stand at once on a node of two cores; with 0.25 Ray was not up before its probes gave it up.
        small = Resources(cpus=0.8, memory=3 << 29)
        config = KubeConfig(data_dir=tmp_path_factory.mktemp("kube"), ray_image=ray_image, linger_s=90, head=small)
        backend = KubeBackend(config, INSTANCE, materials, clock)
        await backend.start()
    try:
        for _ in range(200):
            if (await backend.clusters.get("kube")).phase is ClusterPhase.READY:
                break
            await asyncio.sleep(0.1)
        async with KubeLab.around(backend, clock, materials) as lab:
            yield lab
    finally:
        await backend.close()
