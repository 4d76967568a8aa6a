"""Who asks: headers, cookies, sessions."""

import pytest

from raysvc.api.auth import SESSION_COOKIE, Sessions
from raysvc.domain.project import Role
from raysvc.errors import Unauthenticated
from raysvc.testing.clock import FakeClock
from tests.unit.api_v1.world import World


async def test_a_token_may_come_in_any_of_rays_ways(world: World) -> None:
    token = await world.token()
    for headers in (
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer  {token} "},
        {"X-Ray-Authorization": f"Bearer {token}"},
        {"Authorization": "Basic cHJveHk6cHJveHk=", "X-Ray-Authorization": f"Bearer {token}"},
        {"Cookie": f"ray-authentication-token={token}"},
    ):
        assert (await world.call("GET", "/v1/whoami", as_=headers)).status_code == 200, headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nope"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "nope"},
        {"Cookie": "ray-authentication-token=nope"},
        {"Cookie": f"{SESSION_COOKIE}=nope"},
        {"Cookie": f"{SESSION_COOKIE}=a.b.c.d"},
        {"Cookie": f"{SESSION_COOKIE}="},
    ],
)
async def test_who_is_not_known_is_told_what_to_send(world: World, headers: dict[str, str]) -> None:
    reply = await world.call("GET", "/v1/jobs", as_=headers)
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert "nope" not in reply.text


async def test_a_header_comes_before_a_cookie(world: World) -> None:
    headers = {"Authorization": "Bearer nope", "Cookie": f"ray-authentication-token={await world.token()}"}
    assert (await world.call("GET", "/v1/whoami", as_=headers)).status_code == 401


async def session(world: World, role: Role = Role.ADMIN, *projects: str) -> dict[str, str]:
    reply = await world.call("POST", "/login", as_={}, data={"token": await world.token(role, *projects)})
    assert reply.status_code == 303
    return {"Cookie": reply.headers["set-cookie"].partition(";")[0]}


async def test_a_session_reads_and_never_writes(world: World) -> None:
    cookie = await session(world)
    job = await world.submit()
    assert (await world.call("GET", f"/v1/jobs/{job.id}", as_=cookie)).status_code == 200
    writes = [
        ("POST", "/v1/jobs", {"spec": {"entrypoint": "x"}}),
        ("POST", f"/v1/jobs/{job.id}/stop", None),
        ("DELETE", f"/v1/jobs/{job.id}", None),
        ("POST", "/v1/projects", {"name": "x"}),
        ("PUT", "/v1/secrets/A", {"value": "x"}),
        ("POST", "/v1/tokens", {"role": "viewer", "owner": "x"}),
        ("POST", "/v1/admission/pause", {}),
    ]
    token = await world.token()
    for as_ in (cookie, {"Cookie": f"ray-authentication-token={token}"}):
        for method, path, body in writes:
            reply = await world.call(method, path, as_=as_, json=body)
            assert (reply.status_code, reply.json()["code"]) == (403, "forbidden"), path
            assert "browser" in reply.json()["detail"]


async def test_a_batch_by_cookie_is_refused_item_by_item(world: World) -> None:
    batch = {"jobs": [{"spec": {"entrypoint": "x"}}]}
    reply = await world.call("POST", "/v1/jobs:batch", as_=await session(world), json=batch)
    assert [result["status"] for result in reply.json()["results"]] == [403]
    assert (await world.call("GET", "/v1/jobs")).json()["items"] == []


async def test_a_session_ends_with_its_token(world: World) -> None:
    cookie = await session(world, Role.VIEWER)
    assert (await world.call("GET", "/v1/whoami", as_=cookie)).json()["role"] == "viewer"
    tokens = [token for token in await world.store.tokens.list() if token.role is Role.VIEWER]
    await world.call("DELETE", f"/v1/tokens/{tokens[0].id}")
    assert (await world.call("GET", "/v1/whoami", as_=cookie)).status_code == 401


async def test_a_session_is_over_after_twelve_hours(world: World) -> None:
    cookie = await session(world)
    world.clock.advance(12 * 3600 - 1)
    assert (await world.call("GET", "/v1/whoami", as_=cookie)).status_code == 200
    world.clock.advance(1)
    assert (await world.call("GET", "/v1/whoami", as_=cookie)).status_code == 401


async def test_a_session_is_over_after_logging_out(world: World) -> None:
    cookie = await session(world)
    assert (await world.call("POST", "/logout", as_=cookie)).status_code == 303
    assert (await world.call("GET", "/v1/whoami", as_=cookie)).status_code == 401


def test_a_session_is_known_to_every_server_with_the_same_key_and_to_no_other() -> None:
    clock = FakeClock()
    cookie = Sessions(b"one", clock).begin("raysvc_secret")
    assert Sessions(b"one", clock).token_hash(cookie)
    with pytest.raises(Unauthenticated):
        Sessions(b"two", clock).token_hash(cookie)


def test_a_session_that_was_touched_opens_nothing() -> None:
    clock = FakeClock()
    sessions = Sessions(b"one", clock)
    cookie = sessions.begin("raysvc_secret")
    nonce, until, digest, signature = cookie.split(".")
    for forged in (
        f"{nonce}.{int(until) + 1}.{digest}.{signature}",
        f"{nonce}.{until}.{'0' * 64}.{signature}",
        f"{nonce}.{until}.{digest}.",
        f"{nonce}.{until}.{digest}.{signature}x",
        f".{signature}",
        "ü",
        "",
    ):
        with pytest.raises(Unauthenticated):
            sessions.token_hash(forged)
    assert "raysvc_secret" not in cookie


def test_only_a_session_of_ours_is_remembered_as_ended() -> None:
    sessions = Sessions(b"one", FakeClock())
    for forged in ("", "x", "a.b.c.d", Sessions(b"two", FakeClock()).begin("raysvc_secret")):
        sessions.end(forged)
    assert not sessions._ended, "or anybody could fill the memory with what they made up"  # noqa: SLF001
    cookie = sessions.begin("raysvc_secret")
    sessions.end(cookie)
    sessions.end(cookie)
    assert len(sessions._ended) == 1  # noqa: SLF001


async def test_a_form_that_is_not_ours_is_a_login_that_failed(world: World) -> None:
    form = {f"field{number}": "x" for number in range(20)}
    reply = await world.call("POST", "/login", as_={}, data=form)
    assert reply.status_code == 401
