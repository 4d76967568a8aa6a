"""Each route of both origins × each caller: who may gets what was promised, who may not gets nothing and does nothing.

The routes come from the apps themselves, the promises from `table.py`: a route without a row fails, and a row without a
route. To outsiders a thing of another project and a thing that is not there are one: the same status, headers and text.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from raysvc.api.cluster import allow
from raysvc.domain.query import JobQuery
from tests.isolation import table
from tests.isolation.ask import Ask, asks, key_of
from tests.isolation.caller import CALLERS, Caller, Way, expected
from tests.isolation.place import INSIDE, MARK, NOTHING, OUTSIDE, Names, Place, methods_of
from tests.isolation.table import About, Need
from tests.unit.api_ray.websocket import Socket

RAY = re.compile(r"(?:/p/[^/]+)?/(?:api/|nodes)")
PAGE = re.compile(r"/jobs|/dashboards/")
# What differs between two replies that say the same.
_VARIES = {"x-request-id", "date", "content-length"}
OUTSIDERS = pytest.mark.parametrize(
    "caller", [caller for caller in CALLERS if caller.known and not caller.inside], ids=lambda caller: caller.name
)


def routes(app: Starlette) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        for method in methods_of(route):
            yield method, route.path  # type: ignore[attr-defined]  # `methods_of` knows only routes that have one


async def test_every_route_has_its_row_and_every_row_its_route(place: Place) -> None:
    for app, rows in ((place.front, table.MAIN), (place.dashboard, table.DASHBOARD)):
        assert {key_of(method, path) for method, path in routes(app)} == rows.keys()


async def test_the_document_announces_every_route_of_the_api_with_the_role_of_its_row(place: Place) -> None:
    document = place.front.openapi()
    announced = {
        key_of(method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    spoken = {key.replace("{path:path}", "{path}"): row for key, row in {**table.V1, **table.PROBES}.items()}
    del spoken["GET /openapi.json"]
    assert announced.keys() >= spoken.keys()
    for key, row in spoken.items():
        role = announced[key].get("x-role", "nobody")
        assert role == {Need.PLATFORM: "platform admin"}.get(row.need, row.need.name.lower()), key
    # What the document says of Ray's API is Ray's own part of it; state calls are Ray's to describe.
    assert announced.keys() - spoken.keys() <= table.RAY.keys()


@pytest.mark.parametrize(
    ("patterns", "paths"),
    [
        ((*allow._STATE, *allow._PROFILE, *allow._FILES), table.STATE_PATHS),  # noqa: SLF001 none may be forgotten
        (allow._UI, table.UI_PATHS),  # noqa: SLF001 as above
    ],
)
def test_every_pattern_of_a_clusters_paths_has_its_example(patterns: tuple[str, ...], paths: dict[str, Need]) -> None:
    for pattern in patterns:
        assert any(re.fullmatch(pattern, path, re.ASCII) for path in paths), pattern


@pytest.mark.parametrize("caller", CALLERS, ids=lambda caller: caller.name)
async def test_each_route_lets_in_who_may_and_nobody_else(place: Place, caller: Caller) -> None:
    headers = await caller.headers(place)
    cells, names = 0, await place.names()
    for app, rows in ((place.front, table.MAIN), (place.dashboard, table.DASHBOARD)):
        for method, path in routes(app):
            key = key_of(method, path)
            for form in range(len([*asks(method, path, rows[key], names, "")])):
                succeeds = rows[key].writes and expected(caller, rows[key]) < 400
                here = await place.names(ended=method == "DELETE") if succeeds else names
                ask = [*asks(method, path, rows[key], here, f"fresh-{cells}")][form]
                status, before = wanted(caller, ask, key), await place.state()
                reply = await send(place, app, method, ask, headers)
                where = f"{caller.name}: {method} {ask.path}"
                assert outcome(reply, path) == status, f"{where}: {reply.status_code} {reply.text[:300]}"
                if status >= 400 or method in {"GET", "HEAD"}:
                    assert await place.state() == before or "/packages/" in path, f"{where} changed something"
                if not caller.inside or not caller.known:
                    assert MARK not in whole(reply), f"{where} shows something of {INSIDE}"
                cells += 1
    assert cells >= 300


@OUTSIDERS
async def test_to_outsiders_what_is_anothers_and_what_is_not_there_are_one(place: Place, caller: Caller) -> None:
    headers, names = await caller.headers(place), await place.names()
    compared = 0
    for app, rows in ((place.front, table.MAIN), (place.dashboard, table.DASHBOARD)):
        for method, path in routes(app):
            row = rows[key_of(method, path)]
            if row.about not in {About.ONE, About.OWN}:
                continue
            theirs = [await send(place, app, method, ask, headers) for ask in asks(method, path, row, names, "x")]
            nobodys = [await send(place, app, method, ask, headers) for ask in asks(method, path, row, NOTHING, "x")]
            for one, other in zip(theirs, nobodys, strict=True):
                assert said(one, names) == said(other, NOTHING), f"{method} {path}"
                compared += 1
    assert compared >= 150


@OUTSIDERS
async def test_in_their_own_project_outsiders_meet_nothing_of_another(place: Place, caller: Caller) -> None:
    headers, names = await caller.headers(place), await place.names()
    before = (await place.store.jobs.find(JobQuery(projects=(INSIDE,)))).items
    for app, rows in ((place.front, table.MAIN), (place.dashboard, table.DASHBOARD)):
        for method, path in routes(app):
            # The names of another project's things, asked for as one's own; the cluster holds jobs of both.
            for ask in asks(method, path, rows[key_of(method, path)], names._replace(project=OUTSIDE), "fresh"):
                reply = await send(place, app, method, ask, headers)
                assert MARK not in whole(reply), f"{method} {ask.path} shows something of {INSIDE}"
                assert reply.status_code < 500, f"{method} {ask.path}: {reply.text}"
    assert (await place.store.jobs.find(JobQuery(projects=(INSIDE,)))).items == before
    assert await place.platform.vault.secret(INSIDE, names.secret) == MARK


def wanted(caller: Caller, ask: Ask, key: str) -> int:
    """Return the status that the table promises, in the words of the surface that is asked."""
    status = expected(caller, ask.row)
    page = PAGE.match(ask.path) is not None
    if status == 401 and page:
        return 303  # to /login
    if status == 401 and RAY.match(ask.path) and caller.way is Way.WRONG:
        return 403  # as Ray's own server says it
    if ask.path.startswith("/clusters/") and caller.browser and ask.row.need not in {Need.NOBODY, Need.NEVER}:
        return 401  # a session of the main origin opens nothing here
    if key == "GET /dashboards/{cluster}" and caller.way is Way.RAY_COOKIE and status == 303:
        return 401  # only a session of ours leads over
    return status


async def send(place: Place, app: Any, method: str, ask: Ask, headers: dict[str, str]) -> httpx.Response:
    if method != "WS":
        return await place.ask(app, method, ask.path, {**headers, **ask.headers}, **ask.options)
    path = ask.path.partition("?")[0]
    async with Socket(app, path, {"host": "127.0.0.1:8500", **headers, **ask.headers}) as socket:
        await socket.until(lambda: bool(socket.text) or socket.task.done() or _denied(socket))
        return _as_response(socket)


def _denied(socket: Socket) -> bool:
    return socket.received[0]["type"] == "websocket.http.response.start" and len(socket.received) > 1


def _as_response(socket: Socket) -> httpx.Response:
    first, *rest = socket.received
    if first["type"] == "websocket.accept":
        return httpx.Response(101, text=socket.text)
    body = b"".join(event.get("body", b"") for event in rest)
    return httpx.Response(first["status"], headers=first["headers"], content=body)


def outcome(reply: httpx.Response, path: str) -> int:
    """Return the reply's status, of a batch of one that of its item."""
    if path == "/v1/jobs:batch" and reply.status_code == 200:
        return int(reply.json()["results"][0]["status"])
    return reply.status_code


def whole(reply: httpx.Response) -> str:
    return f"{reply.headers}{reply.text}"


def said(reply: httpx.Response, names: Names) -> tuple[Any, ...]:
    """Return all of a reply that may tell one case from another, with what the request named taken out."""
    text = reply.text
    headers = {name: value for name, value in reply.headers.items() if name not in _VARIES}
    for word in sorted({*names}, key=len, reverse=True):
        text = text.replace(word, "NAME")
        headers = {name: value.replace(word, "NAME") for name, value in headers.items()}
    said_in_text = re.sub(r'"request_id": ?"[^"]*"|nonce="[^"]*"', "", text)
    return reply.status_code, said_in_text, {name: re.sub("nonce-[^']+", "", value) for name, value in headers.items()}
