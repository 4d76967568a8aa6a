"""The OpenAPI document: what FastAPI cannot know of routes that read their bodies themselves, and every error."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from raysvc.api import problem
from raysvc.api.problem import Problem
from raysvc.api.v1 import service_view, view
from raysvc.domain.cluster import NewCluster, NewScale
from raysvc.domain.inventory import FitAsk, NewPools, NewQuarantine
from raysvc.domain.key import NewKey
from raysvc.domain.plan import PlanRequest
from raysvc.domain.project import Limits
from raysvc.domain.replica import ReplicaReport
from raysvc.domain.service import ReplicaScale

_REF = "#/components/schemas/"
_BODIES: tuple[type[BaseModel], ...] = (
    view.Submit,
    view.Batch,
    view.NewProject,
    Limits,
    view.NewToken,
    view.SecretValue,
    view.Pause,
    NewCluster,
    NewScale,
    NewPools,
    FitAsk,
    NewQuarantine,
    NewKey,
    service_view.NewService,
    service_view.ServiceUpdate,
    service_view.Rollback,
    ReplicaScale,
    ReplicaReport,
    PlanRequest,
)
_DESCRIPTION = """The native API of raysvc.

Send `Authorization: Bearer <token>`. Errors are problem details (RFC 9457): `code` is for programs, `detail` for
people. Unknown fields and query parameters are refused by name. Writes take `dry_run=true`. Streams are server-sent
events that end with `event: end`; one that stops without it was cut, and resumes with `Last-Event-ID`.
"""
TAGS = [
    {"name": "jobs", "description": "Submit, watch, stop, delete."},
    {"name": "output", "description": "Logs, events, metrics and files of a job."},
    {"name": "projects", "description": "Projects, their limits and secrets."},
    {"name": "clusters", "description": "Where jobs run, and what they share."},
    {"name": "pools", "description": "Node pools, nodes, and where a job would go."},
    {"name": "services", "description": "Models: planned, and served."},
    {"name": "openai", "description": "What OpenAI clients ask of the control plane; the rest their proxy answers."},
    {"name": "replicas", "description": "For replicas alone."},
    {"name": "keys", "description": "Inference keys and the tokens that they used."},
    {"name": "platform", "description": "Tokens, admission, policies."},
    {"name": "health", "description": "For probes and Prometheus."},
]
_OPEN = frozenset({"/healthz", "/readyz"})
_ALWAYS = (400, 401, 403, 404, 421, 500, 503)
_ON_WRITE = (413, 415, 507)


def problems(*statuses: int, write: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the announcement of the errors a route can answer with: these, and those that every route can."""
    every = {*_ALWAYS, *statuses, *(_ON_WRITE if write else ())}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {problem.MEDIA_TYPE: {"schema": {"$ref": _REF + Problem.__name__}}},
        }
        for status in sorted(every)
    }


def ok(model: Any, description: str, status: int = 200, example: Any = None) -> dict[int | str, dict[str, Any]]:
    """Return the announcement of a reply."""
    answer: dict[str, Any] = {"model": model, "description": description}
    if example is not None:
        answer["content"] = {"application/json": {"example": example}}
    return {status: answer}


def takes(model: type[BaseModel], *, example: Any, role: str, parameters: Sequence[Mapping[str, Any]] = ()) -> Any:
    """Return `openapi_extra` for a route that reads a body of this model itself. `role`: the least that may."""
    content = {"application/json": {"schema": {"$ref": _REF + model.__name__}, "example": example}}
    body = {"required": True, "content": content}
    return {"requestBody": body, "x-role": role, **({"parameters": list(parameters)} if parameters else {})}


def needs(role: str) -> dict[str, str]:
    """Return `openapi_extra` that says which role a route takes at least."""
    return {"x-role": role}


def query(name: str, schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    """Return a query parameter, for a route that reads its query itself."""
    return {"name": name, "in": "query", "required": False, "schema": dict(schema), "description": description}


def install(app: FastAPI, *, foreign: Mapping[str, Any], tags: Sequence[Mapping[str, Any]]) -> None:
    """Make the app's OpenAPI document whole. `foreign`: path items of routes that FastAPI does not know, by `tags`."""

    def build() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, foreign, tags)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _build(app: FastAPI, foreign: Mapping[str, Any], tags: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    document = get_openapi(
        title="raysvc",
        version=app.version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=[*TAGS, *map(dict, tags)],
    )
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods:
                _with_nulls(document["paths"][route.path_format][method.lower()], route.responses)
    document["paths"].update(deepcopy(dict(foreign)))
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name, schema in _schemas(*_BODIES, Problem).items():
        schemas.setdefault(name, schema)
    for leftover in ("HTTPValidationError", "ValidationError"):
        schemas.pop(leftover, None)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "a token of `raysvc token create`"}
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(operation, is_open=path in _OPEN)
    return document


def _with_nulls(operation: dict[str, Any], announced: Mapping[int | str, Mapping[str, Any]]) -> None:
    """Put the examples in as they were written: FastAPI leaves out every null of the whole document."""
    for status, answer in announced.items():
        for media, content in answer.get("content", {}).items():
            if "example" in content:
                operation["responses"][str(status)]["content"][media]["example"] = content["example"]


def _complete(operation: dict[str, Any], *, is_open: bool) -> None:
    if not is_open:
        operation["security"] = [{"bearer": []}]
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]  # FastAPI's announcement of its own; ours answer 400
    for answer in answers.values():
        answer.setdefault("headers", {})["X-Request-Id"] = {"schema": {"type": "string"}}


def _schemas(*models: type[BaseModel]) -> dict[str, Any]:
    inputs: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in models]
    _, found = models_json_schema(inputs, ref_template=_REF + "{model}")
    return dict(found["$defs"])
