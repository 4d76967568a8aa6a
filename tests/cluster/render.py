"""The configuration that each program is given. Pure: plan in, text or data out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.plan import GPU_TAINT, PAUSE_IMAGE, Node, Plan

DNS_READY_PORT = 8181
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

# What the kubelet insists on; given to it as files over /proc/sys of the node, so that the machine's own stay.
SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def kubelet(plan: Plan, node: Node) -> dict[str, Any]:
    folder = plan.node_folder(node)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(plan.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(plan.pki / f"{node.name}.crt"),
        "tlsPrivateKeyFile": str(plan.pki / f"{node.name}.key"),
        "clusterDNS": [plan.addresses.host],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "registerWithTaints": [GPU_TAINT] if node.gpus else [],
        "volumePluginDir": str(folder / "volume-plugins"),
        "failSwapOn": False,
        "protectKernelDefaults": True,
        # The machine's disk is not the cluster's to judge: only a full one counts.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "10s",
        "nodeLeaseDurationSeconds": 20,
        "syncFrequency": "10s",
        "shutdownGracePeriod": "0s",
    }


def kube_proxy(plan: Plan, node: Node, kubeconfig: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": node.name,
        "clusterCIDR": plan.addresses.pods,
        "detectLocalMode": "ClusterCIDR",
        # Zero: leave the machine's limits of connection tracking alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "metricsBindAddress": "127.0.0.1:10249",
    }


def containerd(plan: Plan, node: Node, container_spec: Path) -> str:
    folder = plan.node_folder(node)
    return f"""\
version = 3
root = '{folder}/containerd'
state = '/run/containerd'
[grpc]
  address = '{CONTAINERD_SOCKET}'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '{PAUSE_IMAGE}'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
  base_runtime_spec = '{container_spec}'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = '/usr/sbin/runc'
  SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/usr/lib/cni']
  conf_dir = '{folder}/cni'
[plugins.'io.containerd.internal.v1.opt']
  path = '{folder}/opt'
[plugins.'io.containerd.nri.v1.nri']
  disable = true
"""


def container_spec(default: Mapping[str, Any], mounts: Mapping[str, str]) -> dict[str, Any]:
    """Return the specification that all containers start from: the default, and folders of the machine, read-only."""
    process = {key: value for key, value in default["process"].items() if key != "rlimits"}  # those of containerd
    added = [
        {"destination": at, "source": folder, "type": "bind", "options": ["rbind", "ro", "nosuid", "nodev"]}
        for at, folder in mounts.items()
    ]
    return {**default, "process": process, "mounts": [*default["mounts"], *added]}


def pod_network(plan: Plan, node: Node) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": plan.addresses.pods_of(node.index)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": ipam}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}


def dns(plan: Plan) -> str:
    return f"""\
. {{
  bind {plan.addresses.host}
  errors
  ready {plan.addresses.host}:{DNS_READY_PORT}
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {plan.kubeconfig}
    pods insecure
    ttl 1
  }}
  cache {{
    success 1000 1
    denial 1000 1
  }}
}}
"""


def labels(node: Node) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(node.labels.items()))


def flags(settings: Mapping[str, object]) -> Sequence[str]:
    """Return them as a Kubernetes program takes them."""
    return [f"--{name}={json.dumps(value) if isinstance(value, bool) else value}" for name, value in settings.items()]
