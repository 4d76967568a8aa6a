"""The dashboards' origin: the way there, what passes, and what never does."""

from collections.abc import AsyncIterator

import httpx
import pytest

from raysvc.api.auth import SESSION_COOKIE
from raysvc.api.dashboard.door import SESSION_AGE, TICKET_AGE
from raysvc.domain.job import JobPhase as P
from raysvc.domain.project import Role
from tests.unit.api_ray.cluster import SECRET, TOKEN, Ray
from tests.unit.api_ray.world import World

HOME = "/clusters/local/"
COOKIE = "raysvc-dashboard-8501"


@pytest.fixture
async def browser(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of both origins with no credentials; it keeps cookies and follows nothing by itself."""
    mounts = {
        "http://front": httpx.ASGITransport(app=world.app),
        "http://dash:8501": httpx.ASGITransport(app=world.dashboard),
    }
    async with httpx.AsyncClient(mounts=mounts, base_url="http://dash:8501") as made:
        yield made


@pytest.fixture(autouse=True)
def pages(ray: Ray) -> None:
    ray.raw["/"] = ({"content-type": "text/html"}, [b"<html>", b"Ray</html>"])
    ray.raw["/static/js/main.js"] = ({"content-type": "text/javascript", "etag": '"1"'}, [b"let x"])
    ray.json["/api/v0/jobs"] = {"data": {"runtime_env": {"env_vars": {"T": SECRET}}}}


async def session(browser: httpx.AsyncClient, world: World, secret: str) -> httpx.Response:
    """Go from a session on the main origin to the dashboard, and return its first page."""
    cookie = {"Cookie": f"{SESSION_COOKIE}={world.sessions.begin(secret)}"}
    first = await browser.get("http://front/dashboards/local", headers=cookie)
    assert first.status_code == 303, first.text
    second = await browser.get(first.headers["location"])
    assert second.status_code == 303, second.text
    assert second.headers["location"] == HOME
    return await browser.get(second.headers["location"])


async def test_a_session_of_the_main_origin_opens_the_dashboard(
    browser: httpx.AsyncClient, world: World, ray: Ray
) -> None:
    page = await session(browser, world, await world.token(Role.VIEWER))
    assert (page.status_code, page.text) == (200, "<html>Ray</html>")
    assert ray.last.headers["authorization"] == TOKEN
    assert "cookie" not in ray.last.headers
    [cookie] = browser.cookies.jar
    assert (cookie.name, cookie.path, cookie.domain) == (COOKIE, HOME, "dash.local")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "lax"


async def test_without_a_session_the_way_leads_over_the_login(browser: httpx.AsyncClient) -> None:
    reply = await browser.get("http://front/dashboards/local")
    assert (reply.status_code, reply.headers["location"]) == (303, "/login?next=/dashboards/local")


async def test_without_a_cookie_there_is_a_401_that_says_the_way(browser: httpx.AsyncClient, ray: Ray) -> None:
    reply = await browser.get(HOME)
    assert reply.status_code == 401
    assert "http://front/dashboards/local" in reply.text
    assert ray.requests == []


async def test_a_ticket_is_good_once_for_half_a_minute_and_for_one_cluster(
    browser: httpx.AsyncClient, world: World
) -> None:
    async def ticket() -> str:
        reply = await browser.get("http://front/dashboards/local", headers=await world.bearer())
        assert "no-store" in reply.headers["cache-control"]
        return str(reply.headers["location"])

    link = await ticket()
    assert (await browser.get(link.replace("/local/", "/other/"))).status_code == 401
    assert (await browser.get(link)).status_code == 303
    assert "used before" in (await browser.get(link)).text
    late = await ticket()
    world.clock.advance(TICKET_AGE.total_seconds())
    assert (await browser.get(late)).status_code == 401
    forged = (await ticket())[:-1] + "0"
    assert (await browser.get(forged)).status_code == 401
    browser.cookies.clear()
    as_session = link.partition("ticket=")[2]
    assert (await browser.get(HOME, headers={"Cookie": f"{COOKIE}={as_session}"})).status_code == 401


async def test_a_session_ends_with_its_token_and_after_its_time(browser: httpx.AsyncClient, world: World) -> None:
    token, secret = await world.platform.gate.issue(Role.VIEWER, owner="ada")
    await session(browser, world, secret)
    await world.platform.gate.revoke(token.id)
    assert (await browser.get(HOME)).status_code == 401
    assert (await session(browser, world, await world.token())).status_code == 200
    world.clock.advance(SESSION_AGE.total_seconds())
    assert (await browser.get(HOME)).status_code == 401


async def test_a_bearer_opens_it_for_curl(browser: httpx.AsyncClient, world: World) -> None:
    assert (await browser.get(HOME, headers=await world.bearer(Role.VIEWER))).status_code == 200
    assert (await browser.get(HOME, headers={"Authorization": "Bearer no"})).status_code == 401


async def test_json_passes_without_secrets_and_without_rays_cookie(browser: httpx.AsyncClient, world: World) -> None:
    reply = await browser.get(f"{HOME}api/v0/jobs?limit=1", headers=await world.bearer())
    assert reply.json() == {"data": {"runtime_env": {"env_vars": {"T": "<redacted>"}}}}
    assert SECRET not in reply.text
    assert "set-cookie" not in reply.headers


async def test_what_the_browser_says_of_itself_goes_on_and_nothing_else(
    browser: httpx.AsyncClient, world: World, ray: Ray
) -> None:
    said = {
        "User-Agent": "Mozilla/5.0",
        "Origin": "http://evil",
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "If-None-Match": '"1"',
    }
    never = {"Cookie": f"{COOKIE}=x", "X-Forwarded-For": "1.2.3.4", "X-Ray-Authorization": "Bearer x", "Referer": "r"}
    await browser.get(f"{HOME}static/js/main.js", headers={**said, **never, **await world.bearer()})
    sent = ray.last.headers
    assert {name: sent[name] for name in said} == said
    assert not {name for name in never if name in sent}


async def test_the_ui_is_told_that_there_is_nothing_to_log_in_to(
    browser: httpx.AsyncClient, world: World, ray: Ray
) -> None:
    reply = await browser.get(f"{HOME}api/authentication_mode", headers=await world.bearer())
    assert reply.json() == {"authentication_mode": "disabled"}
    assert ray.requests == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_only_reads_pass(browser: httpx.AsyncClient, world: World, ray: Ray, method: str) -> None:
    reply = await browser.request(method, f"{HOME}api/jobs/", headers=await world.bearer())
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD")
    assert "read-only" in reply.text
    assert ray.requests == []


@pytest.mark.parametrize(
    "path", ["api/packages/gcs/x.zip", "api/v0/delay/9", "static/..%2f..%2fapi/v0/jobs", "test/dump", "api/jobs/x/logs"]
)
async def test_other_paths_do_not_pass(browser: httpx.AsyncClient, world: World, ray: Ray, path: str) -> None:
    reply = await browser.get(HOME + path, headers=await world.bearer())
    assert reply.status_code == 404
    assert ray.requests == []


async def test_profilers_take_an_admin(browser: httpx.AsyncClient, world: World, ray: Ray) -> None:
    ray.raw["/worker/cpu_profile"] = ({"content-type": "image/svg+xml"}, [b"<svg/>"])
    path = f"{HOME}worker/cpu_profile?pid=1"
    assert (await browser.get(path, headers=await world.bearer(Role.MEMBER))).status_code == 403
    profile = await browser.get(path, headers=await world.bearer(Role.ADMIN))
    assert (profile.status_code, profile.text) == (200, "<svg/>")
    assert "sandbox" in profile.headers["content-security-policy"]


async def test_another_projects_token_finds_no_cluster(browser: httpx.AsyncClient, world: World) -> None:
    for cluster in ("local", "nope", "%2e%2e", "x" * 300):
        bearer = await world.bearer(Role.ADMIN, "team-a")
        reply = await browser.get(f"/clusters/{cluster}/", headers=bearer)
        assert reply.status_code == 404
        assert (await browser.get(f"http://front/dashboards/{cluster}", headers=bearer)).status_code == 404


async def test_a_shared_cluster_is_for_those_who_see_all_on_it(browser: httpx.AsyncClient, world: World) -> None:
    everyone = await world.bearer()
    job = {"entrypoint": "sleep infinity", "submission_id": "b1"}
    await browser.post("http://front/p/team-b/api/jobs/", json=job, headers=everyone)
    await world.move("b1", P.STARTING, project="team-b")
    mine = await world.bearer(Role.ADMIN, "default")
    refused = await browser.get(HOME, headers=mine)
    assert refused.status_code == 403
    assert "1 other project" in refused.text
    assert (await browser.get("http://front/dashboards/local", headers=mine)).status_code == 403
    assert (await browser.get(HOME, headers=everyone)).status_code == 200


async def test_every_answer_says_what_a_page_may_do(browser: httpx.AsyncClient, world: World) -> None:
    bearer = await world.bearer()
    for path, policy in (
        ("", "default-src 'self'"),
        ("api/v0/jobs", "sandbox"),
        ("static/js/main.js", "sandbox"),
        ("nothing", "sandbox"),
    ):
        reply = await browser.get(HOME + path, headers=bearer)
        assert policy in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert (reply.headers.get("cache-control") == "no-store") is not path.startswith("static/")


async def test_a_cluster_that_is_away_is_a_503(browser: httpx.AsyncClient, world: World, ray: Ray) -> None:
    ray.away = True
    reply = await browser.get(HOME, headers=await world.bearer())
    assert (reply.status_code, reply.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert "fake" not in reply.text


async def test_without_its_slash_the_folder_is_redirected_to(browser: httpx.AsyncClient) -> None:
    reply = await browser.get("/clusters/local")
    assert (reply.status_code, reply.headers["location"]) == (307, "/clusters/local/")
    assert (await browser.get("/")).status_code == 404


async def test_streams_let_go_of_the_cluster(browser: httpx.AsyncClient, world: World, ray: Ray) -> None:
    bearer = await world.bearer()
    for path in ("", "static/js/main.js"):
        await browser.get(HOME + path, headers=bearer)
        await browser.head(HOME + path, headers=bearer)
    assert ray.open == 0


@pytest.mark.parametrize("host", ["evil.example:8501", "dash.evil.example", "evil.example@dash:8501", ""])
async def test_a_rebound_name_gets_nothing(browser: httpx.AsyncClient, world: World, host: str) -> None:
    for path in (HOME, "/", "/clusters/local", f"{HOME}static/js/main.js"):
        reply = await browser.get(path, headers={**await world.bearer(), "Host": host})
        assert (reply.status_code, reply.headers["content-type"]) == (421, "text/plain; charset=utf-8"), path


async def test_a_query_that_no_url_can_hold_is_refused(browser: httpx.AsyncClient, world: World, ray: Ray) -> None:
    ray.json["/api/v0/tasks"] = {}
    reply = await browser.get(f"{HOME}api/v0/tasks?filter={'x' * 65_500}", headers=await world.bearer())
    assert reply.status_code == 400


async def test_a_header_that_is_not_ascii_is_passed_on_as_it_is(
    browser: httpx.AsyncClient, world: World, ray: Ray
) -> None:
    bearer = {name.encode(): value.encode() for name, value in (await world.bearer()).items()}
    reply = await browser.get(HOME, headers={**bearer, b"user-agent": "Café/1".encode("latin-1")})
    assert reply.status_code == 200
    assert (b"user-agent", "Café/1".encode("latin-1")) in [(n.lower(), v) for n, v in ray.last.headers.raw]
