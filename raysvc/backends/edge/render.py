"""HAProxy's configuration, written from a table of routes. Pure: the same table gives the same text.

What was measured stands in each line's comment; the rest of HAProxy's defaults are kept.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from raysvc.ports.serving import Route, Target

# A body must fit into HAProxy's buffer whole, or the model's name in it cannot be read.
MAX_BODY_BYTES = 1_000_000
_BUFFER_BYTES = 1 << 20
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_MODEL = re.compile(r"[A-Za-z0-9._/-]{1,256}")
_NOBODY = 65534
_REASONS = {400: "Bad Request", 408: "Request Timeout", 500: "Internal Server Error", 502: "Bad Gateway"}
_REASONS |= {503: "Service Unavailable", 504: "Gateway Timeout"}


# Answers 413 once the body has passed: a client that is cut off while it sends sees a broken connection, and no answer.
_LARGE = """core.register_service("large", "http", function(applet)
    local left = 256 * 1024 * 1024
    while left > 0 do
        local piece = applet:receive(65536)
        if #piece == 0 then break end
        left = left - #piece
    end
    local answer = ANSWER
    applet:set_status(413, "Content Too Large")
    applet:add_header("content-type", "application/json")
    applet:add_header("content-length", #answer)
    applet:start_response()
    applet:send(answer)
end)
"""


@dataclass(frozen=True)
class EdgeConfig:
    """Where it listens; where the control plane is, which answers GET /v1/models. `drop`: workers give up root."""

    host: str
    port: int
    control: str
    drop: bool = False
    routes: Sequence[Route] = field(default=())


def files(config: EdgeConfig) -> dict[str, str]:
    """Return the files of one configuration by name: the configuration, the map of models, the texts of errors."""
    return {
        "haproxy.cfg": "\n".join([*_global(config), *_defaults(), *_frontend(config), *_backends(config), ""]),
        "models.map": "".join(f"{model} s-{service}\n" for model, service in sorted(_models(config.routes).items())),
        "large.lua": _LARGE.replace("ANSWER", json.dumps(_TOO_LARGE)),
        **{f"{status}.http": _error_file(status) for status in _ERRORS},
    }


def _models(routes: Iterable[Route]) -> dict[str, str]:
    return {model: route.service for route in routes for model in route.models if _MODEL.fullmatch(model)}


def _global(config: EdgeConfig) -> list[str]:
    return [
        "global",
        "    stats socket unix@admin.sock mode 600 level admin expose-fd listeners",
        "    maxconn 8192",
        "    lua-load large.lua",
        # A stream that outlives so many seconds after a change of routes is cut.
        "    hard-stop-after 3600s",
        f"    tune.bufsize {_BUFFER_BYTES}",
        # Without it, buffers of that size cost 32 page faults a request: .76 instead of .93 of vLLM's streamed rate.
        "    tune.memory.hot-size 268435456",
        *([f"    uid {_NOBODY}", f"    gid {_NOBODY}"] if config.drop else []),
    ]


def _defaults() -> list[str]:
    return [
        "defaults",
        "    mode http",
        "    timeout connect 2s",
        # Slow headers and bodies; an answer may take its time.
        "    timeout http-request 30s",
        "    timeout http-keep-alive 60s",
        "    timeout client 1h",
        "    timeout server 1h",
        # A unary request whose client has gone frees its sequence.
        "    option abortonclose",
        "    option http-no-delay",
        # A client's idle connection is not closed under its next request when the routes change.
        "    option idle-close-on-response",
        "    option redispatch 1",
        "    retries 2",
        "    retry-on conn-failure",
        "    http-reuse always",
        "    balance leastconn",
        *[f"    errorfile {status} {status}.http" for status in _ERRORS],
    ]


def _frontend(config: EdgeConfig) -> list[str]:
    pageless = _answer(404, "There is no such page. Models are asked by POST.", "not_found")
    nameless = _answer(400, "The request names no `model`, or is not JSON.", "invalid_request")
    return [
        "frontend openai",
        f"    bind {_address(config.host, config.port)}",
        "    acl lists path /v1/models",
        "    acl lists path_beg /v1/models/",
        f"    http-request {pageless} if !METH_POST !lists",
        f"    http-request use-service lua.large if {{ req.hdr_val(content-length) gt {MAX_BODY_BYTES} }}",
        "    http-request wait-for-body time 30s if METH_POST",
        # A chunked body has no content-length.
        f"    http-request use-service lua.large if {{ req.body_len gt {MAX_BODY_BYTES} }}",
        "    http-request set-var(txn.model) req.body,json_query('$.model') if METH_POST",
        f"    http-request {nameless} if METH_POST !{{ var(txn.model) -m len 1:256 }}",
        "    http-request set-var(txn.service) var(txn.model),map(models.map) if METH_POST",
        f"    http-request {_unknown_model()} if METH_POST !{{ var(txn.service) -m found }}",
        "    use_backend control if !METH_POST",
        "    use_backend %[var(txn.service)]",
    ]


def _backends(config: EdgeConfig) -> Iterable[str]:
    control = urlsplit(config.control)
    tls = " ssl verify none" if control.scheme == "https" else ""
    yield "backend control"
    yield f"    http-request set-header host {control.netloc}"
    yield f"    server control {_address(control.hostname or '', control.port or 80)}{tls}"
    for route in config.routes:
        yield f"backend s-{route.service}"
        for number, target in enumerate(usable(route.targets), 1):
            # A replica that is gone is noticed within 2 s, whether or not the control plane lives.
            yield f"    server r{number} {_address(target.host, target.port)} check inter 1s fall 2 rise 1"


def usable(targets: Iterable[Target]) -> Iterable[Target]:
    """Yield the targets whose host is an address or a name: a replica says itself what its host is."""
    return (target for target in targets if _is_host(target.host))


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None
    return True


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _error(message: str, code: str, kind: str = "invalid_request_error") -> str:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _answer(status: int, message: str, code: str) -> str:
    return f"return status {status} content-type application/json string {_quoted(_error(message, code))}"


def _unknown_model() -> str:
    name = "%[var(txn.model),json(utf8s)]"
    text = _error(
        f"The model `{name}` does not exist here, or is not yours. GET /v1/models says which are.", "model_not_found"
    )
    return f"return status 404 content-type application/json lf-string {_quoted(text)}"


def _quoted(text: str) -> str:
    """Return it as one word of HAProxy's: within single quotes nothing has a meaning."""
    return "'" + text.replace("'", "’") + "'"


_TOO_LARGE = _error(f"A request may have {MAX_BODY_BYTES} bytes here.", "request_too_large")
_ERRORS = {
    400: _error("The request is not HTTP as it should be.", "invalid_request"),
    408: _error("The request did not come whole within 30 s.", "request_timeout"),
    500: _error("The proxy has failed.", "internal_error", "server_error"),
    502: _error("The replica broke off its answer.", "replica_failed", "server_error"),
    503: _error("No replica of this model is ready. Try again shortly.", "no_replica", "server_error"),
    504: _error("The replica did not answer in time.", "replica_timeout", "server_error"),
}


def _error_file(status: int) -> str:
    body = _ERRORS[status]
    again = "Retry-After: 2\r\n" if status == 503 else ""  # noqa: PLR2004
    return (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\n{again}"
        f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}"
    )
