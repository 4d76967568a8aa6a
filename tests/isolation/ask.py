"""From a route to the requests that the matrix sends there: each form of a path, each way to name the project."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raysvc.api.ray.caller import PROJECT_HEADER
from raysvc.api.v1.service_example import REPORT
from tests.isolation.place import CONTENT, Names, pool_of
from tests.isolation.table import STATE_PATHS, UI_PATHS, About, Need, Row

_IN_QUERY = re.compile(r"/v1/(?:jobs|secrets|pools:fit|keys|usage|services|clusters)|/jobs")
_JOB = {"entrypoint": "true"}


@dataclass(frozen=True)
class Ask:
    """One request. `row` is the route's, but for paths of a cluster that are for fewer, and lists of one project."""

    path: str
    row: Row
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def key_of(method: str, path: str) -> str:
    """Return the name of a route's row: without the project before it and the slash after it."""
    bare = path.removeprefix("/p/{project}")
    return f"{'GET' if method == 'HEAD' else method} {bare.rstrip('/') or '/'}"


def asks(method: str, path: str, row: Row, names: Names, fresh: str) -> Iterator[Ask]:
    """Yield the requests for a route. `fresh` is a name that nobody has yet."""
    options = _body(method, path, names, fresh)
    for concrete, need in _cluster_paths(path, row):
        held = row if need is row.need else Row(need, row.about, row.ok, row.writes)
        bare = _filled(concrete, names)
        if path.startswith(("/api/", "/nodes")):
            # Ray's API: a header names the project, where it is not in the path.
            yield Ask(bare, held, {PROJECT_HEADER: names.project}, options)
        elif _IN_QUERY.match(path) and row.about is not About.ALL:
            named = Row(row.need, About.ONE, row.ok, row.writes)
            yield Ask(f"{bare}?project={names.project}", named, {}, options)
            if row.about is About.SEEN:
                yield Ask(bare, held, {}, options)
            if "{job_id}" in path:  # a uid says its project itself
                yield Ask(_filled(concrete, names._replace(job_id=names.uid)), held, {}, options)
        else:
            yield Ask(bare, held, {}, options)


def _cluster_paths(path: str, row: Row) -> Iterator[tuple[str, Need]]:
    """Yield the path, or what may stand for its open end with what each needs."""
    if path.endswith("/api/v0/{rest:path}") and row.need is not Need.NEVER:
        for rest, need in STATE_PATHS.items():
            if rest.startswith("api/v0/"):
                yield path.replace("api/v0/{rest:path}", rest), need
    elif path == "/clusters/{cluster}/{path:path}" and row.need is not Need.NEVER:
        for rest, need in {**UI_PATHS, **STATE_PATHS}.items():
            yield path.replace("{path:path}", rest), need
    else:
        yield path, row.need


def _filled(path: str, names: Names) -> str:
    kind = {
        "/v1/projects": names.project,
        "/v1/secrets": names.secret,
        "/v1/clusters": names.stranger if path.endswith("/adopt") else names.shared,
        "/v1/pools": names.pool,
        "/v1/services": names.service,
    }
    values = {
        "project": names.project,
        "job_id": names.job_id,
        "token_id": names.token_id,
        "key_id": names.key,
        "cluster": names.cluster,
        "node": names.node,
        "protocol": "gcs",
        "rest": "0a1b",
        "rest:path": "tasks",
        "path:path": "f",
        "name": next((name for start, name in kind.items() if path.startswith(start)), "style.css"),
    }
    if "/packages/" in path:
        values["name"] = names.package
    return re.sub(r"\{([\w:]+)\}", lambda match: values[match[1]], path)


def _body(method: str, path: str, names: Names, fresh: str) -> dict[str, Any]:
    """Return what the route takes, as a request that would pass."""
    bodies: dict[str, Any] = {
        "POST /v1/jobs": {"json": {"spec": _JOB}},
        "POST /v1/jobs:batch": {"json": {"jobs": [{"spec": _JOB}]}},
        "POST /v1/projects": {"json": {"name": fresh}},
        "PUT /v1/projects/{name}/limits": {"json": {"max_gpus": 1}},
        "PUT /v1/secrets/{name}": {"json": {"value": fresh}},
        "POST /v1/keys": {"json": {"name": fresh}},
        "POST /v1/clusters": {"json": {"name": fresh}},
        "POST /v1/clusters/{name}/scale": {"json": {"min": 1, "max": 1}},
        "POST /v1/services/plan": {"json": {"model": "Qwen/Qwen3-0.6B", "gpu": "L4"}},
        "POST /v1/services": {"json": {"name": fresh, "spec": {"model": "/models/one"}}},
        "PUT /v1/services/{name}": {"json": {"spec": {"model": f"/models/{fresh}"}}},
        "POST /v1/services/{name}/scale": {"json": {"min": 2, "max": 2}},
        "POST /v1/services/{name}/rollback": {"json": {}},
        "POST /v1/replicas/report": {"json": REPORT | {"service": names.uid}},
        "POST /v1/pools": {"json": {"pools": [pool_of(names.pool, fresh)]}},
        "POST /v1/pools:fit": {"json": {"spec": _JOB}},
        "PUT /v1/nodes/{node}/quarantine": {"json": {"reason": fresh}},
        "POST /v1/tokens": {"json": {"role": "viewer", "owner": "x", "projects": [names.project]}},
        "POST /v1/admission/pause": {"json": {"message": fresh}},
        "POST /api/jobs": {"json": _JOB},
        "PUT /api/packages/{protocol}/{name}": {"content": CONTENT},
        "POST /login": {"data": {"token": names.login, "next": "/jobs"}},
    }
    return dict(bodies.get(key_of(method, path), {}))
