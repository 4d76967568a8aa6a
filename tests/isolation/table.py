"""Who may what: one row a route of any of our three surfaces. The matrix is made from it and from the apps' own routes.

A route is named by its method and its path, without `/p/{project}` before it and without a slash at its end: those
forms must all answer alike. HEAD is held to the row of GET.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, auto


class Need(IntEnum):
    """What a caller must be at least."""

    NOBODY = auto()
    VIEWER = auto()
    MEMBER = auto()
    ADMIN = auto()
    PLATFORM = auto()  # an admin of every project
    REPLICA = auto()  # a replica of a service, with a token of its own: nobody here
    NEVER = auto()  # the method is there to be refused


class About(Enum):
    """Whose thing a request is about, which says what an outsider hears."""

    ONE = auto()  # a thing of one project, named by the request: to others it is not there
    SEEN = auto()  # whatever the caller sees: others get an answer without it
    OWN = auto()  # the caller's role is looked at first, in its own projects; then it is as ONE
    ALL = auto()  # the platform's: nothing to hide, much to forbid


@dataclass(frozen=True)
class Row:
    need: Need
    about: About
    ok: int = 200
    writes: bool = False


_V, _M, _A, _P = Need.VIEWER, Need.MEMBER, Need.ADMIN, Need.PLATFORM
_OPEN = Row(Need.NOBODY, About.ALL)
_READ = Row(_V, About.ONE)
_LIST = Row(_V, About.SEEN)
_REFUSED = Row(Need.NEVER, About.ALL, 405, writes=True)

V1 = {
    "GET /v1/jobs": _LIST,
    "POST /v1/jobs": Row(_M, About.ONE, 201, writes=True),
    "POST /v1/jobs:batch": Row(_M, About.ONE, 201, writes=True),  # the status of its one item
    "GET /v1/jobs/{job_id}": _READ,
    "POST /v1/jobs/{job_id}/stop": Row(_M, About.ONE, writes=True),
    "DELETE /v1/jobs/{job_id}": Row(_M, About.ONE, 204, writes=True),
    "GET /v1/jobs/{job_id}/attempts": _READ,
    "GET /v1/jobs/{job_id}/explain": _READ,
    "GET /v1/jobs/{job_id}/logs": _READ,
    "GET /v1/jobs/{job_id}/events": _READ,
    "GET /v1/jobs/{job_id}/metrics": _READ,
    "GET /v1/jobs/{job_id}/artifacts": _READ,
    "GET /v1/jobs/{job_id}/artifacts/{path:path}": _READ,
    "GET /v1/projects": _LIST,
    "POST /v1/projects": Row(_P, About.ALL, 201, writes=True),
    "GET /v1/projects/{name}": _READ,
    "PUT /v1/projects/{name}/limits": Row(_P, About.ONE, writes=True),
    "GET /v1/secrets": _READ,
    "PUT /v1/secrets/{name}": Row(_A, About.ONE, writes=True),
    "DELETE /v1/secrets/{name}": Row(_A, About.ONE, 204, writes=True),
    "GET /v1/clusters": _LIST,
    "GET /v1/clusters/{name}": _READ,
    "POST /v1/clusters": Row(_A, About.ONE, 201, writes=True),
    "DELETE /v1/clusters/{name}": Row(_A, About.ONE, 202, writes=True),
    "POST /v1/clusters/{name}/scale": Row(_A, About.ONE, writes=True),
    "POST /v1/clusters/{name}/adopt": Row(_A, About.ONE, 201, writes=True),
    "GET /v1/clusters/{name}/connection": _READ,
    "POST /v1/tokens": Row(_A, About.ONE, 201, writes=True),  # for the project that its body names
    "GET /v1/tokens": Row(_A, About.SEEN),
    "DELETE /v1/tokens/{token_id}": Row(_A, About.OWN, 204, writes=True),
    "GET /v1/pools": _LIST,
    "POST /v1/pools": Row(_P, About.ALL, writes=True),
    "GET /v1/pools:discover": Row(_P, About.ALL),
    "POST /v1/pools:fit": _READ,
    "GET /v1/pools/{name}": _READ,
    "DELETE /v1/pools/{name}": Row(_P, About.ALL, 204, writes=True),
    "GET /v1/nodes": Row(_P, About.ALL),
    "PUT /v1/nodes/{node}/quarantine": Row(_P, About.ALL, writes=True),
    "DELETE /v1/nodes/{node}/quarantine": Row(_P, About.ALL, 204, writes=True),
    "GET /v1/keys": _READ,
    "POST /v1/keys": Row(_A, About.ONE, 201, writes=True),
    "DELETE /v1/keys/{key_id}": Row(_A, About.ONE, 204, writes=True),
    "GET /v1/usage": _READ,
    "POST /v1/services/plan": _READ,
    "GET /v1/services": _READ,
    "POST /v1/services": Row(_M, About.ONE, 201, writes=True),
    "GET /v1/services/{name}": _READ,
    "PUT /v1/services/{name}": Row(_M, About.ONE, writes=True),
    "DELETE /v1/services/{name}": Row(_M, About.ONE, 202, writes=True),
    "POST /v1/services/{name}/scale": Row(_M, About.ONE, writes=True),
    "POST /v1/services/{name}/rollback": Row(_M, About.ONE, writes=True),
    "GET /v1/services/{name}/explain": _READ,
    "GET /v1/services/{name}/events": _READ,
    "GET /v1/services/{name}/logs": _READ,
    "POST /v1/replicas/report": Row(Need.REPLICA, About.ALL, 401, writes=True),
    "GET /v1/models": _LIST,
    "GET /v1/admission": _LIST,
    "POST /v1/admission/pause": Row(_P, About.ALL, writes=True),
    "POST /v1/admission/resume": Row(_P, About.ALL, writes=True),
    "GET /v1/policies": _LIST,
    "GET /v1/version": _LIST,
    "GET /v1/whoami": _LIST,
}
RAY = {
    "POST /api/jobs": Row(_M, About.ONE, writes=True),
    "GET /api/jobs": _READ,
    "GET /api/jobs/{job_id}": _READ,
    "DELETE /api/jobs/{job_id}": Row(_M, About.ONE, writes=True),
    "POST /api/jobs/{job_id}/stop": Row(_M, About.ONE, writes=True),
    "GET /api/jobs/{job_id}/logs": _READ,
    "GET /api/jobs/{job_id}/logs/tail": Row(Need.NOBODY, About.ALL, 400),  # "no WebSocket", whoever asks
    "WS /api/jobs/{job_id}/logs/tail": Row(_V, About.ONE, 101),
    "GET /api/packages/{protocol}/{name}": _READ,
    "PUT /api/packages/{protocol}/{name}": Row(_M, About.ONE, writes=True),
    "GET /api/version": _LIST,
    "GET /api/component_activities": _READ,
    "GET /api/cluster_status": _READ,
    "GET /api/serve/applications": _READ,
    "GET /api/v0/{rest:path}": _READ,
    "GET /nodes": _READ,
    "GET /nodes/{rest}": _READ,
} | {
    f"{method} {path}": _REFUSED
    for method in ("POST", "PUT", "PATCH", "DELETE")
    for path in ("/api/cluster_status", "/api/serve/applications", "/api/v0/{rest:path}", "/nodes", "/nodes/{rest}")
}
PAGES = {
    "GET /": Row(Need.NOBODY, About.ALL, 303),
    "GET /jobs": _LIST,
    "GET /jobs/{job_id}": _READ,
    "GET /docs": _OPEN,
    "GET /assets/{name}": _OPEN,
    "GET /login": _OPEN,
    "POST /login": Row(Need.NOBODY, About.ALL, 303, writes=True),
    "POST /logout": Row(Need.NOBODY, About.ALL, 303, writes=True),
    "GET /dashboards/{cluster}": Row(_V, About.ONE, 303),
}
PROBES = {
    "GET /healthz": _OPEN,
    "GET /readyz": _OPEN,
    "GET /metrics": _LIST,
    "GET /openapi.json": _OPEN,
}
DASHBOARD = {
    "GET /clusters/{cluster}": Row(Need.NOBODY, About.ALL, 307),  # to the same with a slash, whether it is there or not
    "GET /clusters/{cluster}/{path:path}": _READ,
    "GET /{path:path}": Row(Need.NOBODY, About.ALL, 404),
} | {
    f"{method} /clusters/{{cluster}}/{{path:path}}": _REFUSED
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
MAIN = {**V1, **RAY, **PAGES, **PROBES}

# What of a cluster passes, an example a pattern of raysvc/api/cluster/allow.py, and who may: a profile slows all down,
# and a log file may be that of any project that ever ran there.
STATE_PATHS = {
    "api/v0/actors": _V,
    "api/v0/tasks/summarize": _V,
    "api/v0/cluster_events": _V,
    "api/v0/tasks/timeline": _V,
    "nodes/0a1b": _V,
    "api/cluster_status": _V,
    "api/serve/applications/": _V,
    "memory_profile": _A,
    "worker/traceback": _A,
    "task/cpu_profile": _A,
    "api/v0/logs/file": _P,
}
UI_PATHS = {
    "": _V,
    "static/js/main.js": _V,
    "logical/actors/0a1b": _V,
    "api/jobs/": _V,
    "api/train/v2/runs": _V,
    "api/data/datasets/0a1b": _V,
    "api/version": _V,
    "timezone": _V,
}
