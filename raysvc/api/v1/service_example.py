"""Examples that stand in the OpenAPI document: services and their replicas."""

from typing import Any

from raysvc.api.v1.example import AT, LATER

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
    "revisions": [{"number": 1, "spec": _SERVICE_SPEC, "created_at": AT, "by": "ada", "reason": None}],
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
            "at": LATER,
        }
    ],
    "owner": "ada",
    "created_at": AT,
    "updated_at": LATER,
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
            "at": LATER,
            "status": 200,
            "prompt_tokens": 120,
            "completion_tokens": 48,
        }
    ],
}
