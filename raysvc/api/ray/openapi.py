"""Ray's API as OpenAPI: its routes are plain Starlette, so FastAPI cannot say what they take and give."""

from copy import deepcopy
from typing import Any

from raysvc.api.ray.version import API_VERSION, RAY_VERSION

TAG = {"name": "ray", "description": "Ray's own Jobs API, for Ray's unmodified clients. Also under /p/{project}."}

_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_OBJECT = {"type": "object", "additionalProperties": True}


def paths() -> dict[str, Any]:
    """Return the path items of Ray's API, at the root, for an OpenAPI 3.1 document."""
    job_id = _in_path("job_id", "a submission id (or the driver's id on the cluster)", "raysubmit_Ys3kVbTgWqLrN2ZC")
    package = [
        _in_path("protocol", "always `gcs`", "gcs"),
        _in_path("name", "the package's name, made by Ray's client from its contents", "_ray_pkg_0123456789abcdef.zip"),
    ]
    items = {
        "/api/version": {"get": _operation("Versions", _json(_VERSION))},
        "/api/jobs/": {
            "post": _operation("Submit a job", _json(_SUBMITTED), body=_SUBMIT, errors=_SUBMIT_ERRORS),
            "get": _operation("List the newest jobs, at most 1,000", _json({"type": "array", "items": _DETAILS})),
        },
        "/api/jobs/{job_id}": {
            "get": _operation("A job", _json(_DETAILS), parameters=[job_id]),
            "delete": _operation("Forget an ended job", _json(_flag("deleted")), parameters=[job_id], errors=(500,)),
        },
        "/api/jobs/{job_id}/stop": {
            "post": _operation("Stop a job", _json(_flag("stopped")), parameters=[job_id]),
        },
        "/api/jobs/{job_id}/logs": {
            "get": _operation("The whole log", _json(_exactly(logs=_TEXT)), parameters=[job_id]),
        },
        "/api/packages/{protocol}/{name}": {
            "get": _operation("Is the package here?", _EMPTY, parameters=package),
            "put": _operation(
                "Upload a package", _EMPTY, parameters=package, body=_PACKAGE, errors=(409, 413, 429, 507)
            ),
        },
        "/api/component_activities": {"get": _operation("Is there work?", _json(_exactly(driver=_OBJECT)))},
    }
    return deepcopy(items)  # whoever builds the document adds to it


def _operation(
    summary: str,
    reply: dict[str, Any],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    errors: tuple[int, ...] = (),
) -> dict[str, Any]:
    refusals = {str(status): _REFUSAL for status in sorted({400, 401, 403, 404, 503, *errors})}
    operation: dict[str, Any] = {"tags": ["ray"], "summary": summary, "responses": {"200": reply, **refusals}}
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = body
    return operation


def _in_path(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": _TEXT,
        "example": example,
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "Done", "content": {"application/json": {"schema": schema}}}


def _exactly(**properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with these keys and no other: one more is a TypeError in Ray's client."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _flag(name: str) -> dict[str, Any]:
    return _exactly(**{name: {"type": "boolean"}})


_REFUSAL = {"description": "Why not, for people", "content": {"text/plain": {"schema": _TEXT}}}
_EMPTY = {"description": "Yes, or done"}
_SUBMIT_ERRORS = (409, 413, 422, 429, 500, 507)
_PACKAGE = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
_VERSION = {
    **_exactly(version=_TEXT, ray_version=_TEXT, ray_commit=_TEXT, session_name=_TEXT),
    "example": {"version": API_VERSION, "ray_version": RAY_VERSION, "ray_commit": "…", "session_name": "raysvc"},
}
_SUBMITTED = _exactly(job_id=_TEXT, submission_id=_TEXT)
_SUBMIT = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "entrypoint": _TEXT,
                    "submission_id": _TEXT,
                    "runtime_env": _OBJECT,
                    "metadata": {**_TEXTS, "description": "keys that begin with `raysvc.` are options of ours"},
                    "entrypoint_num_cpus": {"type": "number", "minimum": 0},
                    "entrypoint_num_gpus": {"type": "number", "minimum": 0},
                    "entrypoint_memory": {"type": "integer", "minimum": 0, "description": "bytes"},
                    "entrypoint_resources": {"type": "object", "additionalProperties": {"type": "number"}},
                    "entrypoint_label_selector": _TEXTS,
                },
                "required": ["entrypoint"],
                "additionalProperties": False,
            },
            "example": {
                "entrypoint": "python train.py",
                "runtime_env": {"env_vars": {"EPOCHS": "3"}},
                "metadata": {"raysvc.priority": "10", "raysvc.label.team": "vision"},
            },
        }
    },
}
_DETAILS = {
    "type": "object",
    "properties": {
        "type": {"const": "SUBMISSION"},
        "submission_id": _TEXT,
        "status": {"enum": ["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]},
        "entrypoint": _TEXT,
        "message": _TEXT,
        "error_type": {"type": ["string", "null"]},
        "start_time": {"type": "integer", "description": "ms since the epoch"},
        "end_time": {"type": ["integer", "null"], "description": "ms since the epoch"},
        "metadata": _TEXTS,
        "runtime_env": _OBJECT,
        "driver_exit_code": {"type": ["integer", "null"]},
        "raysvc": {**_OBJECT, "description": "phase, reason, queue position, attempt; Ray's client leaves it out"},
    },
    "required": ["type", "submission_id", "status", "entrypoint"],
}
