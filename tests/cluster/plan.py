"""What the cluster consists of: addresses, folders, nodes. Decisions only, nothing is touched here."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import cache

BLOCK = "10.213"
RAY_VERSION = "2.60.0"
RAY_IMAGE = f"raysvc.test/ray:{RAY_VERSION}"
SERVER_IMAGE = "raysvc.test/server:1"
PAUSE_IMAGE = "raysvc.test/pause:1"
OPERATOR_IMAGE = "raysvc.test/kuberay-operator:1.6.2"
POOL_LABEL = "raysvc.test/pool"
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}

# As NVIDIA's GPU feature discovery labels a machine of eight H100 in one NVLink domain (its README, v0.20).
DISCOVERED = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.count": "8",
    "nvidia.com/gpu.memory": "81559",
    "nvidia.com/gpu.family": "hopper",
    "nvidia.com/gpu.machine": "DGXH100",
    "nvidia.com/gpu.compute.major": "9",
    "nvidia.com/gpu.compute.minor": "0",
    "nvidia.com/gpu.mode": "compute",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.sharing-strategy": "none",
    "nvidia.com/gpu.clique": "7b968a6d-c8aa-45e1-9e07-e1e51be99c31.1",
    "nvidia.com/mig.capable": "true",
    "nvidia.com/mig.strategy": "single",
    "nvidia.com/cuda.driver-version.full": "580.95.05",
    "nvidia.com/cuda.driver-version.major": "580",
    "nvidia.com/cuda.driver-version.minor": "95",
    "nvidia.com/cuda.driver-version.revision": "05",
    "nvidia.com/cuda.runtime-version.full": "13.0",
    "nvidia.com/cuda.runtime-version.major": "13",
    "nvidia.com/cuda.runtime-version.minor": "0",
}


@dataclass(frozen=True)
class Addresses:
    """Everything lives in one /16, which has no way out of the machine."""

    block: str = BLOCK

    def __post_init__(self) -> None:
        try:
            ipaddress.IPv4Network(self.everything)
        except ValueError as error:
            raise ValueError(f"'{self.block}' is not the first two numbers of a network, such as {BLOCK}") from error

    @property
    def everything(self) -> str:
        return f"{self.block}.0.0/16"

    @property
    def host(self) -> str:
        """The machine itself, on the bridge: API server and DNS."""
        return f"{self.block}.0.1"

    @property
    def loopback(self) -> str:
        """For what only the control plane itself talks to; of its own, so that no port of 127.0.0.1 is taken."""
        return f"127.{self.block.split('.')[1]}.0.1"

    @property
    def services(self) -> str:
        return f"{self.block}.64.0/18"

    @property
    def api_service(self) -> str:
        return f"{self.block}.64.1"

    @property
    def pods(self) -> str:
        return f"{self.block}.128.0/17"

    @property
    def fake_pods(self) -> str:
        """For pods on fake nodes: told, never routed."""
        return f"{self.block}.192.0/18"

    def node(self, index: int) -> str:
        return f"{self.block}.0.{10 + index}"

    def pods_of(self, index: int) -> str:
        return f"{self.block}.{128 + index}.0/24"


@dataclass(frozen=True)
class Node:
    """One machine of the cluster. Its index, from 1, gives it its addresses."""

    name: str
    index: int
    labels: Mapping[str, str]
    gpus: int = 0


def _gpu_node(number: int) -> Node:
    labels = {POOL_LABEL: "gpu", "topology.kubernetes.io/zone": "rack-1", **DISCOVERED}
    return Node(f"gpu-{number}", 1 + number, labels, gpus=8)


NODES = (Node("system-1", 1, {POOL_LABEL: "system"}), _gpu_node(1), _gpu_node(2))


@dataclass(frozen=True)
class Plan:
    """One cluster: where its state lies, and which addresses it has."""

    home: Path = field(default_factory=lambda: cache.root() / "cluster")
    addresses: Addresses = field(default_factory=Addresses)
    nodes: tuple[Node, ...] = NODES
    fake_nodes: int = 0

    @property
    def name(self) -> str:
        """Names its bridge, namespaces and cgroups: short, since a network interface's name has at most 15 bytes."""
        return f"rt{self.addresses.block.split('.')[1]}"

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.home / "pki"

    @property
    def logs(self) -> Path:
        return self.home / "log"

    @property
    def api_url(self) -> str:
        return f"https://{self.addresses.host}:6443"

    def node_folder(self, node: Node) -> Path:
        return self.home / "node" / node.name
