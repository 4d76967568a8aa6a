"""Examples that stand in the OpenAPI document: node pools, nodes, clusters."""

from typing import Any

from raysvc.api.v1.example import AT

_POOL_SPEC: dict[str, Any] = {
    "selector": {"example.com/pool": "h100"},
    "node_class": "user",
    "nodes": {"min": 0, "max": None, "fixed": 4},
    "node": {"cpus": 96, "gpus": 0, "memory": 1_000_000_000_000, "custom": {}},
    "accelerator": {
        "name": "H100",
        "products": [],
        "count": 8,
        "memory_mib": 81559,
        "mig": None,
        "replicas": 1,
        "resource": "nvidia.com/gpu",
    },
    "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
    "tolerations": [],
    "spot": False,
    "price_per_hour": None,
    "topology": {"nvlink_domain": "nvidia.com/gpu.clique", "rack": "example.com/rack"},
    "rdma": {"resource": "rdma/ib", "count": 8},
    "hugepages": {},
    "numa": "none",
    "os": {
        "kernel": None,
        "os_image": None,
        "container_runtime": None,
        "kubelet": None,
        "driver": "570.*",
        "on_drift": "exclude",
    },
    "projects": [],
}
POOLS: dict[str, Any] = {
    "pools": [
        {
            "name": "h100",
            "spec": {
                "selector": {"example.com/pool": "h100"},
                "nodes": {"fixed": 4},
                "accelerator": {"name": "H100", "count": 8},
                "taints": [{"key": "nvidia.com/gpu", "value": "present"}],
                "os": {"driver": "570.*", "on_drift": "exclude"},
            },
        },
        {
            "name": "system",
            "spec": {
                "selector": {"example.com/pool": "system"},
                "node_class": "system",
                "nodes": {"min": 1, "max": 3},
                "node": {"cpus": 15, "memory": 60_000_000_000},
            },
        },
    ]
}
POOL_STATE: dict[str, Any] = {
    "name": "h100",
    "spec": _POOL_SPEC,
    "created_at": AT,
    "updated_at": AT,
    "seen": 4,
    "usable": 3,
    "notes": ["gpu-2: driver is 550.90, not 570.*"],
}
FIT: dict[str, Any] = {
    "spec": {
        "entrypoint": "python train.py",
        "shape": {
            "workers": [
                {
                    "scale": {"min": 2, "want": 2, "max": 2},
                    "resources": {"cpus": 32, "gpus": 8},
                    "accelerator": "H100",
                    "topology": "nvlink-domain",
                }
            ]
        },
    }
}
QUARANTINE: dict[str, Any] = {"node": "gpu-2", "reason": "XID 79 twice today", "by": "ada", "at": AT}
NODE: dict[str, Any] = {
    "name": "gpu-2",
    "pool": "h100",
    "usable": False,
    "why": "quarantined: XID 79 twice today",
    "quarantine": QUARANTINE,
    "drift": [],
    "allocatable": {"cpu": 96, "memory": 1_000_000_000_000, "nvidia.com/gpu": 8},
    "used": {},
    "os": {
        "kernel": "6.8.0-31-generic",
        "os_image": "Ubuntu 24.04.1 LTS",
        "container_runtime": "containerd://2.1.4",
        "kubelet": "v1.36.3",
        "driver": "570.124.06",
    },
}
NEW_CLUSTER: dict[str, Any] = {
    "name": "lab",
    "spec": {
        "shape": {
            "workers": [
                {
                    "name": "workers",
                    "scale": {"min": 0, "want": 0, "max": 4},
                    "resources": {"cpus": 8, "gpus": 1, "memory": 68719476736},
                }
            ]
        },
        "idle_ttl_s": 600,
        "suspend_ttl_s": 1800,
    },
}
SHARED_CLUSTER: dict[str, Any] = {
    "name": "lab",
    "project": "default",
    "backend": "kuberay",
    "phase": "PENDING",
    "reason": {"code": "PROVISIONING", "title": "Its cluster is being made", "message": ""},
    "owner": "raysvc",
    "uid": "01kasv3jz4m7q2hx",
    "ray_version": None,
    "nodes": 0,
    "resources": {"cpus": 32, "gpus": 4, "memory": 274877906944, "custom": {}},
    "used": {"cpus": 0, "gpus": 0, "memory": 0, "custom": {}},
    "free_memory": None,
    "autoscaling": {"min": 0, "want": 0, "max": 4},
    "max_running_jobs": 4,
    "rendered": None,
}
