"""Examples that stand in the OpenAPI document: jobs, projects, tokens. Those of the rest stand beside it."""

from typing import Any

AT = "2026-11-24T08:00:00Z"
LATER = "2026-11-24T08:00:03Z"

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
    "created_at": AT,
    "updated_at": AT,
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
            "created_at": AT,
            "started_at": LATER,
            "finished_at": None,
            "exit_code": None,
            "reason": None,
        }
    ],
    "updated_at": LATER,
    "started_at": LATER,
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
            "at": AT,
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
ARTIFACTS: dict[str, Any] = {"items": [{"path": "model/config.json", "size": 512, "modified_at": LATER}]}
PROJECT: dict[str, Any] = {
    "name": "research",
    "limits": {"max_running_jobs": 4, "max_cpus": None, "max_gpus": 8, "max_queued_jobs": 1000},
    "created_at": AT,
}
TOKEN: dict[str, Any] = {
    "token": {
        "id": "01kasv3n6r9w4y2z",
        "role": "member",
        "projects": ["research"],
        "owner": "ada",
        "created_at": AT,
        "expires_at": None,
        "revoked_at": None,
    },
    "secret": "raysvc_…",
}
SECRET: dict[str, Any] = {
    "name": "HF_TOKEN",
    "project": "research",
    "digest": "b1946ac9…",
    "created_at": AT,
    "updated_at": AT,
}
PAUSED: dict[str, Any] = {"paused": True, "message": "nightly maintenance until 06:00 UTC"}
