"""Every route of both origins, asked with noise in its path, query, headers, cookies and body: nothing fails inside.

schemathesis keeps to what the document describes; pages, Ray's state calls and dashboards are not in it.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from raysvc.api.auth import RAY_COOKIE, SESSION_COOKIE
from tests.isolation.ask import asks, key_of
from tests.isolation.place import Names, Place, methods_of
from tests.isolation.table import DASHBOARD, MAIN

EXAMPLES = int(os.environ.get("RAYSVC_FUZZ", "400"))
NAMES = [
    *(
        "after",
        "attempt",
        "created_after",
        "created_before",
        "cursor",
        "detail",
        "dry_run",
        "filter_ansi_code",
        "format",
    ),
    *("filter_keys", "filter_predicates", "filter_values", "glob", "label", "limit", "lines", "live", "media_type"),
    *("name_prefix", "next", "node_id", "offset", "owner", "phase", "project", "submission_id", "suffix", "task_id"),
    *("ticket", "timeout", "token"),
]
HEADERS = [
    *("range", "last-event-id", "idempotency-key", "x-raysvc-project", "x-request-id", "content-type", "origin"),
    *("sec-fetch-site", "accept", "if-none-match", "authorization", "x-ray-authorization"),
]
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_WORDS = st.sampled_from(
    [
        *(
            "",
            "0",
            "-1",
            "1",
            "true",
            "null",
            "NaN",
            "1e999",
            "9" * 30,
            "9" * 5000,
            "٣",
            "１",
            "..",
            "../..",
            "%",
            "%%",
        ),
        *("%2e%2e", "\0", "\r\n", "'", '"', "<b>", "a:b", ":", "a=b;c", "bytes=0-", "bytes=-0", "bytes=9-1", "a.b.c"),
        *(
            "2026-01-01T00:00:00Z",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "x" * 3000,
            "team-a",
            "local",
        ),
        *("=", "a.1.b", "a.x.b", "a..b", f"a.{'9' * 400}.b", "Bearer", "Bearer ", "Basic Og==", "job-0001", "f", "."),
    ]
)
_VALUE = st.one_of(_WORDS, _TEXT)
_HEADER = st.one_of(_WORDS, st.text(st.characters(codec="latin-1"), max_size=30)).map(
    lambda text: "".join(c for c in text if c.isprintable())  # uvicorn's parser lets no other pass
)
_BODY = st.one_of(
    st.binary(max_size=100),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | _VALUE, st.lists, max_leaves=8)
    .map(repr)
    .map(str.encode),
    st.lists(st.tuples(st.sampled_from(["token", "next", "x"]), _VALUE), max_size=20).map(
        lambda pairs: "&".join(f"{key}={quote(value)}" for key, value in pairs).encode()
    ),
    st.sampled_from([b"{}", b"[]", b'{"spec":{}}', b'{"entrypoint":1}', b"PK\3\4", b"\x1f\x8b", b"\xff\xfe"]),
)
_NOISE = st.fixed_dictionaries(
    {
        "path": st.lists(_VALUE, min_size=4, max_size=4),
        "query": st.lists(st.tuples(st.sampled_from(NAMES) | _TEXT, _VALUE), max_size=4),
        "headers": st.dictionaries(st.sampled_from(HEADERS), _HEADER, max_size=3),
        "cookies": st.dictionaries(
            st.sampled_from([SESSION_COOKIE, RAY_COOKIE, "raysvc-dashboard-8501", "x"]), _HEADER, max_size=2
        ),
        "body": _BODY,
        "known": st.booleans(),
        "route": st.integers(0, 10_000),
        "named": st.booleans(),
    }
)
RAYS_500 = ("already exists", "non-terminal state")


def asked(noise: dict[str, Any], method: str, path: str, names: Names) -> str:
    """Return the path and query: of what is there, or of noise."""
    row = {**MAIN, **DASHBOARD}[key_of(method, path)]
    if noise["named"]:
        target = next(iter(asks(method, path, row, names, "x"))).path
    else:
        target = path
        for number, part in enumerate([part for part in path.split("/") if part.startswith("{")]):
            target = target.replace(part, quote(noise["path"][number], safe=""), 1)
    query = "&".join(f"{quote(key)}={quote(value)}" for key, value in noise["query"])
    return f"{target}{'&' if '?' in target else '?'}{query}" if query else target


@pytest.fixture
async def quiet(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    await made.open()
    await made.settle()
    return made


@given(noise=_NOISE)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="RAYSVC_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)
async def test_noise_is_refused_and_nothing_fails_inside(quiet: Place, noise: dict[str, Any]) -> None:
    routes = [
        (app, method, route.path)  # type: ignore[attr-defined]  # `methods_of` knows only routes that have one
        for app in (quiet.front, quiet.dashboard)
        for route in app.routes
        for method in methods_of(route)
        if method != "WS"
    ]
    app, method, path = routes[noise["route"] % len(routes)]
    headers = {**(await quiet.headers() if noise["known"] else {}), **noise["headers"]}
    if noise["cookies"]:
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in noise["cookies"].items())
    fields = {name.lower(): value.encode("latin-1", "replace") for name, value in headers.items()}
    names = await quiet.names(ended=True)
    try:
        url = httpx.URL(f"http://127.0.0.1:8500{asked(noise, method, path, names)}")
    except httpx.InvalidURL:
        return
    with capture_logs() as lines:
        reply = await quiet.ask(app, method, str(url), fields, content=noise["body"])
    assert reply.status_code < 500 or any(words in reply.text for words in RAYS_500), f"{method} {url}: {reply.text}"
    assert not [line for line in lines if line["log_level"] in {"error", "critical"}]
