"""What is refused before any route runs."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from raysvc.api.app import create_app
from raysvc.api.guard import Hosts
from tests.unit.api_v1.world import SETTINGS, World


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8500",
        "localhost:8500",
        "LOCALHOST",
        "[::1]:8500",
        "10.1.2.3",
        "localhost:9999",
        "app.localhost:8500",
        "raysvc.example",
        "raysvc.example:443",
        "front.example.org",
        "a.apps.example",
    ],
)
def test_our_own_names_and_addresses_are_answered(host: str) -> None:
    hosts = Hosts(
        replace(SETTINGS, public_url="https://raysvc.example", allowed_hosts=("front.example.org", "*.apps.example"))
    )
    assert hosts.allow(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8500",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evillocalhost",
        "raysvc.example.evil.example",
        "apps.example",
        "evilapps.example",
        "",
        "[::1",
        "user@evil.example",
        "127.0.0.1@evil.example",
        "evil.example#localhost",
        "evil.example@127.0.0.1",
        "user:word@localhost",
        "127.0.0.1/evil",
        "127.0.0.1, evil.example",
        "127.0.0.1:999999",
        "127.0.0.1:",
        "127.0.0.1 ",
        "localhost\\evil.example",
        "[::1]evil.example",
        "[evil.example]",
        "löcalhost",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not Hosts(replace(SETTINGS, public_url="https://raysvc.example", allowed_hosts=("*.apps.example",))).allow(
        host
    )


async def test_a_rebound_name_gets_nothing(world: World) -> None:
    for path in ("/v1/jobs", "/jobs", "/login", "/healthz", "/openapi.json", "/assets/live.js"):
        reply = await world.call("GET", path, headers={"Host": "evil.example:8500"})
        assert (reply.status_code, reply.json()["code"]) == (421, "misdirected"), path
        assert "--allowed-host" in reply.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8500"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8500.evil.example"},
        {"Origin": "http://127.0.0.1:notaport"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://127.0.0.1:8500", "Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_another_sites_write_is_refused(world: World, headers: dict[str, str]) -> None:
    for method, path in (("POST", "/v1/jobs"), ("DELETE", "/v1/jobs/x"), ("POST", "/login")):
        reply = await world.call(method, path, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (403, "cross_site"), path


async def test_rays_clients_are_told_in_plain_text(world: World) -> None:
    large, headers = b"x" * ((2 << 20) + 1), {"Host": "evil.example:8500"}
    for path in ("/api/jobs/", "/p/team-a/api/jobs/"):
        for status, reply in (
            (421, await world.call("GET", path, headers=headers)),
            (403, await world.call("POST", path, headers={"Origin": "https://evil.example"})),
            (413, await world.call("POST", path, content=large)),
        ):
            assert reply.status_code == status
            assert reply.headers["content-type"] == "text/plain; charset=utf-8"
            assert not reply.text.startswith("{")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://127.0.0.1:8500", "Sec-Fetch-Site": "same-origin"}, {"Origin": "http://127.0.0.1:8500"}],
)
async def test_a_programs_and_our_own_pages_writes_pass(world: World, headers: dict[str, str]) -> None:
    reply = await world.call("POST", "/v1/jobs", headers=headers, json={"spec": {"entrypoint": "x"}})
    assert reply.status_code == 201


async def test_the_public_urls_origin_is_ours(world: World) -> None:
    world.front = create_app(world.platform, replace(SETTINGS, public_url="https://raysvc.example"))
    headers = {"Host": "raysvc.example", "Origin": "https://raysvc.example"}
    reply = await world.call("POST", "/v1/jobs", headers=headers, json={"spec": {"entrypoint": "x"}})
    assert reply.status_code == 201
    other = await world.call("POST", "/v1/jobs", headers={**headers, "Origin": "https://evil.example"}, json={})
    assert other.status_code == 403


async def test_a_read_from_another_site_is_not_a_write(world: World) -> None:
    reply = await world.call("GET", "/healthz", headers={"Sec-Fetch-Site": "cross-site"})
    assert reply.status_code == 200


async def test_a_body_that_says_it_is_too_large_is_not_read(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs", content=b"x" * ((2 << 20) + 1))
    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")
    assert "2048 KiB" in reply.json()["detail"]


async def test_a_body_of_no_announced_length_ends_at_the_same_limit(world: World) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65536

    for path in ("/v1/jobs", "/v1/tokens", "/login", "/api/jobs/"):
        headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        reply = await world.call("POST", path, content=endless(), headers=headers)
        assert reply.status_code == 413, path
        assert "the most this path takes" in reply.text


async def test_packages_and_batches_have_limits_of_their_own(world: World) -> None:
    large = b"x" * ((2 << 20) + 1)
    assert (await world.call("POST", "/v1/jobs:batch", content=large)).status_code != 413
    packages = await world.call("PUT", "/api/packages/gcs/_ray_pkg_0123456789abcdef.zip", content=large)
    assert packages.headers["content-type"].startswith("text/plain"), "Ray's API answers for itself"


async def test_every_reply_carries_its_headers(world: World) -> None:
    for path in ("/v1/jobs", "/nope", "/login", "/healthz"):
        headers = (await world.call("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "same-origin", path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
        assert headers["x-request-id"], path


async def test_a_nul_in_the_url_is_refused(world: World) -> None:
    for path in ("/v1/jobs?name_prefix=a%00b", "/v1/jobs/a%00b", "/v1/secrets/A%00"):
        reply = await world.call("GET", path)
        assert (reply.status_code, reply.json()["field"]) == (400, "url"), path


@pytest.mark.parametrize(
    "name", ["Host", "Authorization", "X-Ray-Authorization", "X-Raysvc-Project", "Idempotency-Key"]
)
async def test_two_of_a_header_that_is_said_once_are_refused(world: World, name: str) -> None:
    headers = [*(await world.headers()).items(), (name, "127.0.0.1:8500"), (name, "127.0.0.1:8500")]
    reply = await world.call("GET", "/v1/whoami", as_={}, headers=headers)
    assert (reply.status_code, reply.json()["field"]) == (400, name.lower())


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity", "chunked, chunked"])
async def test_a_body_in_a_coding_that_we_do_not_undo_is_refused(world: World, coding: str) -> None:
    headers = {"Transfer-Encoding": coding, "Content-Type": "application/json"}
    reply = await world.call("POST", "/v1/jobs", headers=headers, content=b'{"spec": {"entrypoint": "x"}}')
    assert (reply.status_code, reply.json()["field"]) == (400, "transfer-encoding")
