"""Nodes and pods, as they are listed for placement."""

import pytest

from raysvc.backends.kuberay.connect import connect
from raysvc.backends.kuberay.ground import Ground
from raysvc.errors import Unavailable
from raysvc.ports import Surveyed
from tests.unit.backends.kuberay.fake_api import FakeApi
from tests.unit.backends.kuberay.scene import Scene

NODES, PODS = "/api/v1/nodes", "/api/v1/pods"


def machine(fake: FakeApi, name: str) -> None:
    allocatable = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "8"}
    labels = {"acme.com/pool": "gpu", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    status = {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": "True"}]}
    fake.put(NODES, name, metadata={"labels": labels}, status=status)


@pytest.mark.usefixtures("kubeconfig")
async def test_nodes_come_with_what_their_pods_ask_for_and_are_asked_for_once_in_a_while(fake: FakeApi) -> None:
    machine(fake, "gpu-2")
    machine(fake, "gpu-1")
    requests = {"requests": {"nvidia.com/gpu": "4"}}
    pod = {"spec": {"nodeName": "gpu-2", "containers": [{"resources": requests}]}, "status": {"phase": "Running"}}
    fake.objects[PODS] = {"items": [pod]}  # as the list of all namespaces
    connection, ground = await connect(None, None), Ground()
    assert isinstance(ground, Surveyed)
    with pytest.raises(Unavailable, match="not connected"):
        await ground.nodes()
    try:
        ground.use(connection.kube)
        nodes = await ground.nodes()
        assert [(node.name, node.used) for node in nodes] == [("gpu-1", {}), ("gpu-2", {"nvidia.com/gpu": 4.0})]
        (proposal,) = (await ground.discover()).pools
        assert (proposal.name, proposal.nodes) == ("gpu", 2)
        assert [path for _, path in fake.log].count(NODES) == 1
    finally:
        await connection.kube.close()


async def test_the_backend_shows_its_nodes(scene: Scene) -> None:
    machine(scene.fake, "gpu-1")
    scene.fake.objects[PODS] = {"items": []}
    assert isinstance(scene.backend, Surveyed)
    assert [node.name for node in await scene.backend.nodes()] == ["gpu-1"]
    assert [it.name for it in (await scene.backend.discover()).pools] == ["gpu"]


@pytest.mark.usefixtures("kubeconfig")
async def test_a_missing_right_is_said(fake: FakeApi) -> None:
    fake.refuse["GET", PODS] = [(403, 'pods is forbidden: User "x" cannot list resource "pods" at the cluster scope')]
    connection, ground = await connect(None, None), Ground()
    try:
        ground.use(connection.kube)
        with pytest.raises(Unavailable, match=r"cannot be listed.*list.*pods"):
            await ground.nodes()
    finally:
        await connection.kube.close()
