"""Requests that no well-meant client makes, byte by byte on the sockets of both origins: refused, or harmless."""

import asyncio
import re

import pytest

from raysvc.api import connection
from raysvc.domain.project import Role
from tests.isolation.place import INSIDE, MARK, OUTSIDE, Names, Place
from tests.isolation.serving import DEADLINE_S, Served

_BODY = b'{"spec":{"entrypoint":"true"}}'
_SOCKET = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture
async def names(place: Place) -> Names:
    return await place.names(ended=True)


def status(reply: bytes) -> int:
    match = re.match(rb"HTTP/1\.1 (\d{3})", reply)
    return int(match[1]) if match else 0


def request(first: str, *headers: str, body: bytes = b"", host: str | None = "127.0.0.1") -> bytes:
    named = [] if host is None else [f"Host: {host}"]
    return "\r\n".join([first, *named, "Connection: close", *headers, "", ""]).encode("latin-1") + body


FOREIGN_HOSTS = [
    "evil.example",
    "127.0.0.1:80@evil.example",
    "evil.example@127.0.0.1",
    "127.0.0.1/evil",
    "127.0.0.1, evil.example",
    "127.0.0.1:99999999",
    "127.0.0.1:80:80",
    "127.0.0.1.evil.example",
    "localhost#",
    "[::1]evil.example",
    "",
    None,
]


async def test_a_host_that_is_not_ours_gets_nothing_on_either_origin(served: Served) -> None:
    for host in FOREIGN_HOSTS:
        for dashboard, path in ((False, "/healthz"), (False, "/assets/style.css"), (True, "/clusters/local/")):
            reply = await served.exchange(request(f"GET {path} HTTP/1.1", host=host), dashboard=dashboard)
            assert status(reply) == 421, path


CONTRADICTIONS = [
    ("Host: 127.0.0.1", "Host: evil.example"),
    ("Host: evil.example", "Host: 127.0.0.1"),
    ("Authorization: Bearer a", "Authorization: Bearer b"),
    ("X-Ray-Authorization: Bearer a", "X-Ray-Authorization: Bearer b"),
]


async def test_of_two_headers_that_contradict_each_other_neither_is_believed(served: Served) -> None:
    for first, second in CONTRADICTIONS:
        host = None if first.startswith("Host") else "127.0.0.1"
        for dashboard, path in ((False, "/v1/whoami"), (False, "/api/version"), (True, "/clusters/local/")):
            raw = request(f"GET {path} HTTP/1.1", first, second, host=host)
            assert status(await served.exchange(raw, dashboard=dashboard)) == 400, path


async def test_two_projects_in_the_header_are_none(place: Place, served: Served) -> None:
    token = await place.token(Role.MEMBER, OUTSIDE)
    for order in ((INSIDE, OUTSIDE), (OUTSIDE, INSIDE)):
        named = [f"X-Raysvc-Project: {project}" for project in order]
        raw = request("GET /api/jobs/ HTTP/1.1", f"Authorization: Bearer {token}", *named)
        assert status(await served.exchange(raw)) == 400


FOREIGN_URLS = ["http://evil.example/healthz", "http://127.0.0.1.evil.example/healthz", "evil:/x"]


async def test_an_absolute_url_of_another_host_is_refused_and_one_of_ours_is_not(served: Served) -> None:
    for url in FOREIGN_URLS:
        assert status(await served.exchange(request(f"GET {url} HTTP/1.1"))) == 400
        assert status(await served.exchange(request("GET http://127.0.0.1/healthz HTTP/1.1"))) == 200


FRAMINGS = [
    ("Content-Length: 5", "Transfer-Encoding: chunked"),
    ("Transfer-Encoding: chunked", "Content-Length: 5"),
    ("Content-Length: 30", "Content-Length: 5"),
    ("Content-Length: 30", "Content-Length: 30"),
    ("Content-Length: 30, 30",),
    ("Content-Length: +30",),
    ("Content-Length: -1",),
    ("Content-Length: 0x1e",),
    ("Content-Length: 99999999999999999999999",),
    ("Content-Length : 30",),
    ("Transfer-Encoding: xchunked",),
    ("Transfer-Encoding: gzip, chunked",),
    ("Transfer-Encoding: chunked, identity",),
    ("Transfer-Encoding : chunked",),
    ("X: a\r\n Transfer-Encoding: chunked",),
    ("X: a\0b", "Content-Length: 30"),
    ("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff",),
]


async def test_a_body_whose_end_can_be_read_in_two_ways_is_refused(place: Place, served: Served) -> None:
    for framing in FRAMINGS:
        headers = [f"Authorization: Bearer {await place.token()}", "Content-Type: application/json", *framing]
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_BODY), _BODY) if "Transfer" in str(framing) else _BODY
        before = await place.state()
        assert status(await served.exchange(request("POST /v1/jobs HTTP/1.1", *headers, body=body))) == 400
        assert await place.state() == before


NO_REQUESTS = ["FOO /healthz HTTP/1.1", "CONNECT evil.example:80 HTTP/1.1", "PRI * HTTP/2.0", "\x16\x03\x01\x02"]


async def test_what_is_no_request_of_http_is_refused(served: Served) -> None:
    for first in NO_REQUESTS:
        assert status(await served.exchange(request(first))) in {400, 421}


WAYS_IN = [
    "//p/team-a/api/jobs/",
    "/p//team-a/api/jobs/",
    "/./p/team-a/api/jobs/",
    "/p/team-b/../team-a/api/jobs/",
    "/p/team-b%2f..%2fteam-a/api/jobs/",
    "/p/team-b/%2e%2e/team-a/api/jobs/",
    "/p/team-a;x/api/jobs/",
    "/p/TEAM-A/api/jobs/",
    "/p/te%D0%B0m-a/api/jobs/",
    "/p/team-a%20/api/jobs/",
    "/p/team-a%0a/api/jobs/",
    "/p/team%E2%80%91a/api/jobs/",
    "/p/%ff/api/jobs/",
    "/p/*/api/jobs/",
    "/p/%25/api/jobs/",
    "/p/team-_/api/jobs/",
    "/p/" + "a" * 300 + "/api/jobs/",
    "/p/team-a/api/jobs/{job}",
    "/p/team-b/api/jobs/{job}",
    "/p/team-b/api/jobs/..%2f..%2f..%2fteam-a%2fapi%2fjobs%2f{job}",
    "/p/team-b/api/jobs/{job}/logs",
    "/p/team-b/api/v0/logs/file?submission_id={job}",
    "/p/team-a/api/v0/logs/file?submission_id={job}&node_id=x",
    "/p/team-b/api/packages/gcs/{package}",
    "/p/team-b/api/packages/gcs/..%2f..%2fteam-a%2f{package}",
    "/p/team-b/api/v0/../packages/gcs/{package}",
    "/v1/jobs/{uid}",
    "/v1/jobs/{uid}/logs",
    "/v1/jobs/{uid}/events?after=0",
    "/v1/jobs/{uid}/artifacts/f",
    "/v1/jobs/{job}/artifacts/..%2f{uid}%2ff",
    "/v1/jobs/{job}?project=team-b&project=team-a",
    "/v1/jobs/{job}?project=team-a&project=team-b",
    "/v1/jobs?project=team-a",
    "/v1/jobs?project=team-b&project=team-a",
    "/v1/projects/team-a",
    "/v1/projects/team-a%00",
    "/v1/secrets?project=team-a",
    "/v1/clusters/local",
    "/jobs/{uid}",
    "/jobs?project=team-a",
    "/dashboards/local",
]


async def test_no_path_leads_an_outsider_in(place: Place, served: Served, names: Names) -> None:
    for path in WAYS_IN:
        token = await place.token(Role.ADMIN, OUTSIDE)
        named = path.format(job=names.job_id, uid=names.uid, package=names.package)
        for line in (f"GET {named} HTTP/1.1", f"HEAD {named} HTTP/1.1"):
            reply = await served.exchange(request(line, f"Authorization: Bearer {token}"))
            assert status(reply) in {400, 403, 404, 405}, reply[:300]
            assert MARK.encode() not in reply


WAYS_PAST = [
    "/clusters/local/api/jobs/../../../v1/jobs",
    "/clusters/local/static/..%2f..%2fetc/passwd",
    "/clusters/local/static/%2e%2e/%2e%2e/api/jobs/",
    "/clusters/local//api/v0/jobs",
    "/clusters/local/api/v0/jobs%2f..%2flogs/file",
    "/clusters/local/api/v0/jobs;x",
    "/clusters/local/api/v0/jobs%00",
    "/clusters/local/api/jobs/a/stop",
    "/clusters/..%2flocal/api/v0/jobs",
    "/clusters/local%2f/api/v0/jobs",
    "/clusters/local/http://169.254.169.254/",
    "/clusters/local/api/gcs_healthz",
    "/clusters/local/api/v0/delay/5",
    "//clusters/local/",
]


async def test_no_path_of_a_dashboard_leads_past_its_list(place: Place, served: Served) -> None:
    for path in WAYS_PAST:
        raw = request(f"GET {path} HTTP/1.1", f"Authorization: Bearer {await place.token()}")
        reply = await served.exchange(raw, dashboard=True)
        assert status(reply) in {400, 404}, reply[:300]


async def test_no_header_changes_who_asks_for_what(place: Place, served: Served, names: Names) -> None:
    token = await place.token(Role.VIEWER, INSIDE)
    before = await place.state()
    for header in (
        "X-HTTP-Method-Override: DELETE",
        "X-Method-Override: DELETE",
        f"X-Original-URL: /v1/jobs/{names.uid}/stop",
        "X-Rewrite-URL: /v1/admission/pause",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Proto: https",
        "Forwarded: for=1.2.3.4;host=evil.example;proto=https",
        "X-Forwarded-User: admin",
        "X-Remote-User: admin",
        "X-Forwarded-Prefix: /evil",
    ):
        raw = request(f"GET /v1/jobs/{names.uid} HTTP/1.1", f"Authorization: Bearer {token}", header)
        reply = await served.exchange(raw)
        assert status(reply) == 200
        assert b"evil" not in reply
        raw = request(f"POST /v1/jobs/{names.uid} HTTP/1.1", f"Authorization: Bearer {token}", header)
        assert status(await served.exchange(raw)) == 405
    assert await place.state() == before


async def test_the_log_says_who_connected_and_not_who_they_say_they_are(
    served: Served, lines: list[dict[str, object]]
) -> None:
    await served.exchange(request("GET /v1/whoami HTTP/1.1", "X-Forwarded-For: 6.6.6.6", "X-Real-IP: 6.6.6.6"))
    assert {line["client"] for line in lines if line["event"] == "request"} == {"127.0.0.1"}


TAILS = [
    (("Authorization: Bearer {outsider}",), 404),
    (("Cookie: ray-authentication-token={outsider}",), 404),
    (("Cookie: ray-authentication-token={insider}", "Origin: http://evil.example"), 403),
    (("Cookie: ray-authentication-token={insider}", "Origin: null"), 403),
    (("Cookie: raysvc-session={session}", "Origin: http://127.0.0.1:9999"), 403),
    (("Cookie: raysvc-session={session}", "Sec-Fetch-Site: cross-site"), 403),
    ((), 401),
    (("Cookie: raysvc-session={session}", "Origin: http://127.0.0.1"), 101),
    (("Authorization: Bearer {insider}",), 101),
]


async def test_a_tail_opens_only_to_insiders_and_to_no_other_site(place: Place, served: Served, names: Names) -> None:
    for headers, expected in TAILS:
        insider, outsider = await place.token(Role.VIEWER, INSIDE), await place.token(Role.ADMIN, OUTSIDE)
        values = {"insider": insider, "outsider": outsider, "session": place.begin(insider)}
        for path in (
            f"/p/{INSIDE}/api/jobs/{names.job_id}/logs/tail",
            f"/p/{INSIDE}/api/jobs/{names.job_id}/logs/tail/",
        ):
            lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(line.format(**values) for line in headers)]
            reader, writer = await served.connect()
            writer.write(("\r\n".join(lines) + "\r\n" + _SOCKET + "\r\n").encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
            assert status(head) == expected, (headers, head)
            # A tail stays open until we close it; a refusal ends the connection.
            told = reader.readuntil(MARK.encode()) if expected == 101 else reader.read()
            assert (MARK.encode() in await asyncio.wait_for(told, DEADLINE_S)) is (expected == 101)


async def test_slow_clients_by_the_dozen_do_not_keep_others_waiting_and_are_let_go(
    place: Place, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEADER_S", 3.0)
    monkeypatch.setattr(connection, "BODY_S", 3.0)
    token = f"Authorization: Bearer {await place.token()}"
    starts = [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
        request("POST /v1/jobs HTTP/1.1", token, "Content-Length: 1000000"),
        request("POST /v1/jobs HTTP/1.1", token, "Transfer-Encoding: chunked"),
        request("PUT /api/packages/gcs/_ray_pkg_0123456789abcdef.zip HTTP/1.1", token, "Content-Length: 1000000"),
    ]
    slow = []
    for start in starts * 20:
        for dashboard in (False, True):
            reader, writer = await served.connect(dashboard=dashboard)
            writer.write(start)
            slow.append(reader)
    quick = await asyncio.wait_for(served.exchange(request("GET /v1/whoami HTTP/1.1", token)), DEADLINE_S)
    assert status(quick) == 200
    async with asyncio.timeout(DEADLINE_S):
        for reader in slow:
            rest = await reader.read()
            assert status(rest) in {0, 400, 401, 404, 405, 408}, rest[:100]
