"""Examples that stand in the OpenAPI document."""

from typing import Any

_AT = "2026-11-24T08:00:00Z"
_LATER = "2026-11-24T08:00:03Z"

SUBMIT: dict[str, Any] = {
    "spec": {
        "name": "train-lm",
        "entrypoint": "python train.py --steps 200",
        "runtime_env": {"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip", "env_vars": {"HF_HOME": "/data/hf"}},
        "resources": {"cpus": 2},
        "labels": {"team": "nlp"},
        "timeout_s": 3600,
        "retry": {"infrastructure": 3},
    }
}
_SPEC: dict[str, Any] = {
    **SUBMIT["spec"],
    "code": None,
    "metadata": {},
    "label_selector": {},
    "shape": {"workers": []},
    "queue": "default",
    "priority": 0,
    "secrets": {},
    "resources": {"cpus": 2, "gpus": 0, "memory": 0, "custom": {}},
    "retry": {"infrastructure": 3, "user": 0, "backoff_s": 1, "max_backoff_s": 300},
}
_WAITING: dict[str, Any] = {"code": "WAITING", "title": "Waiting in the queue", "message": ""}
_RUNNING: dict[str, Any] = {"code": "RUNNING", "title": "Running", "message": ""}
SUBMITTED: dict[str, Any] = {
    "id": "raysubmit_Ys3kVbTgWqLrN2ZC",
    "uid": "01kasv3jz4m7q2hx",
    "project": "default",
    "name": "train-lm",
    "phase": "QUEUED",
    "reason": _WAITING,
    "attempt": 0,
    "attempts": [],
    "spec": _SPEC,
    "owner": "ada",
    "created_at": _AT,
    "updated_at": _AT,
    "started_at": None,
    "finished_at": None,
    "cluster": None,
    "stop_requested": False,
    "position": None,
    "progress": None,
    "warnings": [],
}
JOB: dict[str, Any] = {
    **{key: value for key, value in SUBMITTED.items() if key != "warnings"},
    "phase": "RUNNING",
    "reason": _RUNNING,
    "attempt": 1,
    "attempts": [
        {
            "job": "01kasv3jz4m7q2hx",
            "number": 1,
            "cluster": "local",
            "node": None,
            "created_at": _AT,
            "started_at": _LATER,
            "finished_at": None,
            "exit_code": None,
            "reason": None,
        }
    ],
    "updated_at": _LATER,
    "started_at": _LATER,
    "cluster": "local",
    "progress": {"step": 40, "total": 200, "fraction": 0.2, "metrics": {"loss": 3.21, "tokens_per_s": 5400}},
}
BATCH: dict[str, Any] = {
    "jobs": [
        {"spec": {"entrypoint": "python train.py --seed 1"}, "idempotency_key": "sweep-7-1"},
        {"spec": {"entrypoint": "python train.py --seed 2"}, "project": "research"},
    ]
}
BATCHED: dict[str, Any] = {
    "results": [
        {
            "status": 201,
            "job": {
                "id": "raysubmit_Ys3kVbTgWqLrN2ZC",
                "uid": "01kasv3jz4m7q2hx",
                "project": "default",
                "phase": "QUEUED",
            },
            "warnings": [],
            "problem": None,
        },
        {
            "status": 404,
            "job": None,
            "warnings": [],
            "problem": {
                "type": "urn:raysvc:problem:not_found",
                "title": "There is no such thing here",
                "status": 404,
                "detail": "There is no project 'research'. An admin makes one with `raysvc project create research`.",
                "code": "not_found",
                "request_id": "01kasv3k0d8e1c5b",
            },
        },
    ]
}
EVENTS: dict[str, Any] = {
    "items": [
        {
            "schema_version": 1,
            "uid": "01kasv3jz4m7q2hx",
            "seq": 2,
            "project": "default",
            "kind": "moved",
            "at": _AT,
            "actor": "raysvc",
            "message": "QUEUED -> STARTING: Being handed to Ray. attempt 1 on local",
            "change": {"phase": "STARTING", "attempt": 1},
            "prev_hash": "9f2c…",
        }
    ]
}
METRICS: dict[str, Any] = {
    "points": [{"step": 1, "loss": 7.62}, {"step": 2, "loss": 7.41}],
    "total": 2,
    "truncated": False,
}
ARTIFACTS: dict[str, Any] = {"items": [{"path": "model/config.json", "size": 512, "modified_at": _LATER}]}
PROJECT: dict[str, Any] = {
    "name": "research",
    "limits": {"max_running_jobs": 4, "max_cpus": None, "max_gpus": 8, "max_queued_jobs": 1000},
    "created_at": _AT,
}
TOKEN: dict[str, Any] = {
    "token": {
        "id": "01kasv3n6r9w4y2z",
        "role": "member",
        "projects": ["research"],
        "owner": "ada",
        "created_at": _AT,
        "expires_at": None,
        "revoked_at": None,
    },
    "secret": "raysvc_…",
}
SECRET: dict[str, Any] = {
    "name": "HF_TOKEN",
    "project": "research",
    "digest": "b1946ac9…",
    "created_at": _AT,
    "updated_at": _AT,
}
PAUSED: dict[str, Any] = {"paused": True, "message": "nightly maintenance until 06:00 UTC"}
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
    "created_at": _AT,
    "updated_at": _AT,
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
QUARANTINE: dict[str, Any] = {"node": "gpu-2", "reason": "XID 79 twice today", "by": "ada", "at": _AT}
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
NEW_SERVICE: dict[str, Any] = {
    "name": "chat",
    "spec": {
        "model": "hf://Qwen/Qwen3-8B",
        "engine": {"max_model_len": 32768, "max_num_seqs": 128},
        "replicas": {"min": 1, "max": 4},
        "resources": {"cpus": 8, "gpus": 1},
    },
}
_SERVICE_SPEC: dict[str, Any] = {
    "model": "hf://Qwen/Qwen3-8B",
    "engine": {
        "tensor_parallel": 1,
        "pipeline_parallel": 1,
        "max_model_len": 32768,
        "max_num_seqs": 128,
        "max_num_batched_tokens": None,
        "gpu_memory_utilization": None,
        "kv_cache_dtype": "auto",
        "dtype": "auto",
        "enforce_eager": False,
        "trust_remote_code": False,
    },
    "replicas": {"min": 1, "max": 4, "target_ongoing_requests": None},
    "resources": {"cpus": 8, "gpus": 1, "memory": 0, "custom": {}},
    "start_timeout_s": 1800,
}
SERVICE: dict[str, Any] = {
    "name": "chat",
    "uid": "01kasv3jz4m7q2hx",
    "project": "default",
    "phase": "HEALTHY",
    "reason": {"code": "SERVING", "title": "Serving", "message": "revision 1"},
    "spec": _SERVICE_SPEC,
    "revision": 1,
    "serving": 1,
    "revisions": [{"number": 1, "spec": _SERVICE_SPEC, "created_at": _AT, "by": "ada", "reason": None}],
    "models": ["default/chat", "chat"],
    "openai_url": "http://127.0.0.1:8600/v1",
    "replicas": [
        {
            "service": "01kasv3jz4m7q2hx",
            "replica": "svc-01kasv3jz4m7q2hx-1-0",
            "revision": 1,
            "host": "127.0.0.1",
            "port": 30101,
            "state": "READY",
            "running": 3,
            "waiting": 0,
            "at": _LATER,
        }
    ],
    "owner": "ada",
    "created_at": _AT,
    "updated_at": _LATER,
    "stop_requested": False,
}
REPORT: dict[str, Any] = {
    "service": "01kasv3jz4m7q2hx",
    "revision": 1,
    "replica": "svc-01kasv3jz4m7q2hx-1-0",
    "host": "127.0.0.1",
    "port": 30101,
    "state": "READY",
    "running": 3,
    "usage": [
        {
            "sequence": 1,
            "key": "01jm5w3k4vq8x2ab",
            "request_id": "01kasv3k0d8e1c5b",
            "at": _LATER,
            "status": 200,
            "prompt_tokens": 120,
            "completion_tokens": 48,
        }
    ],
}
