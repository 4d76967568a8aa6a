"""The pages without a browser: who gets in, what is escaped, what is linked."""

import json
import re

import httpx
import pytest

from raysvc.domain.job import Job, JobPhase
from raysvc.domain.project import Role
from tests.unit.api_v1.world import World

P = JobPhase


async def session(world: World, role: Role = Role.ADMIN, *projects: str) -> dict[str, str]:
    reply = await world.call("POST", "/login", as_={}, data={"token": await world.token(role, *projects)})
    return {"Cookie": reply.headers["set-cookie"].partition(";")[0]}


async def page(world: World, path: str) -> httpx.Response:
    reply = await world.call("GET", path, as_=await session(world))
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    return reply


async def training(world: World, steps: int = 20) -> Job:
    job = await world.submit(name="train", project="team-a", labels={"team": "nlp"})
    job = await world.move(job.id, P.STARTING, P.RUNNING, project="team-a")
    rows = [{"step": s, "total_steps": 40, "loss": 8 / s, "tokens_per_s": 5000 + s} for s in range(1, steps + 1)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    world.backend.ray.files[job.uid] = {"metrics.jsonl": (text.encode(), world.clock.now())}
    return job


async def test_a_browser_without_a_session_is_sent_to_log_in_and_back(world: World) -> None:
    reply = await world.call("GET", "/jobs/x?project=team-a", as_={})
    assert (reply.status_code, reply.headers["location"]) == (303, "/login?next=/jobs/x%3Fproject%3Dteam-a")
    form = (await world.call("GET", reply.headers["location"], as_={})).text
    assert 'name="next" value="/jobs/x?project=team-a"' in form
    token = await world.token()
    landed = await world.call("POST", "/login", as_={}, data={"token": token, "next": "/jobs/x?project=team-a"})
    assert (landed.status_code, landed.headers["location"]) == (303, "/jobs/x?project=team-a")


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "/\r\nx", ""]
)
async def test_a_login_leads_nowhere_else(world: World, target: str) -> None:
    token = await world.token()
    reply = await world.call("POST", "/login", as_={}, data={"token": token, "next": target})
    assert reply.headers["location"] == "/jobs"


async def test_the_sessions_cookie_is_kept_close(world: World) -> None:
    reply = await world.call("POST", "/login", as_={}, data={"token": await world.token()})
    cookie = reply.headers["set-cookie"]
    for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert part in cookie
    assert "Secure" not in cookie, "plain HTTP on loopback"


async def test_a_wrong_token_is_told_and_not_echoed(world: World) -> None:
    reply = await world.call("POST", "/login", as_={}, data={"token": "raysvc_wrong"})
    assert (reply.status_code, "set-cookie" in reply.headers) == (401, False)
    assert "not known" in reply.text
    assert "raysvc_wrong" not in reply.text
    assert (await world.call("POST", "/login", as_={}, data={"token": " "})).status_code == 401
    assert (await world.call("POST", "/login", as_={}, content=b"\xff\xfe=%%%&&")).status_code == 401


async def test_guessing_is_slowed_down_for_a_minute(world: World) -> None:
    for _ in range(10):
        assert (await world.call("POST", "/login", as_={}, data={"token": "guess"})).status_code == 401
    good = {"token": await world.token()}
    assert (await world.call("POST", "/login", as_={}, data=good)).status_code == 429
    world.clock.advance(61)
    assert (await world.call("POST", "/login", as_={}, data=good)).status_code == 303


async def test_a_link_from_another_site_comes_back_with_the_cookie(world: World) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    reply = await world.call("GET", '/jobs?name_prefix="><script>', as_={}, headers=headers)
    assert reply.status_code == 401
    assert 'http-equiv="refresh"' in reply.text
    assert "<script>" not in reply.text


async def test_the_front_leads_to_the_jobs(world: World) -> None:
    assert (await world.call("GET", "/")).headers["location"] == "/jobs"


async def test_the_list_shows_jobs_their_reasons_and_progress(world: World) -> None:
    job = await training(world)
    await world.store.flags.put("admission_paused", "maintenance <b>tonight</b>")
    await world.submit(name="waiting")
    text = (await page(world, "/jobs")).text
    assert f'href="/jobs/{job.id}?project=team-a"' in text
    assert '<progress max="1" value="0.5"' in text
    assert "Admission is paused" in text
    assert "maintenance &lt;b&gt;tonight&lt;/b&gt;" in text
    assert 'href="/dashboards/local"' in text


async def test_the_list_is_filtered_and_paged(world: World) -> None:
    for index in range(55):
        await world.submit(name=f"many-{index:02}", labels={"team": "nlp"})
        world.clock.advance(1)
    await world.submit(name="other", project="team-a")
    first = (await page(world, "/jobs?name_prefix=many&label=team:nlp&project=&phase=&owner=")).text
    assert "other" not in re.sub(r"<form.*?</form>", "", first, flags=re.DOTALL)
    assert first.count('class="badge QUEUED"') == 50
    older = re.search(r'href="(/jobs\?[^"]*cursor=[^"]*)"', first)
    assert older is not None
    second = (await page(world, older[1].replace("&amp;", "&"))).text
    assert second.count('class="badge QUEUED"') == 5
    assert "name_prefix=many" in second


async def test_a_wrong_filter_is_a_page_that_says_so(world: World) -> None:
    reply = await page(world, "/jobs?phase=WALKING")
    assert reply.status_code == 400
    assert "phase" in reply.text


async def test_a_jobs_page_shows_its_state_its_plot_and_its_log(world: World) -> None:
    job = await training(world)
    await world.write(job, b"\x1b[36mhello\x1b[0m <world>\n10%\r20%\r30%\n")
    text = (await page(world, f"/jobs/{job.id}?project=team-a")).text
    assert "step 20 of 40" in text
    assert 'aria-label="Steps 1 to 20: loss ends at 0.4."' in text
    assert re.search(r'<path class="curve c1" d="M52(\.0)? [\d.]+ L', text)
    assert "hello &lt;world&gt;\n30%\n" in text
    assert f'data-follow="/v1/jobs/{job.uid}/logs?follow=true&amp;offset=' in text
    assert f'href="/v1/jobs/{job.uid}/artifacts/metrics.jsonl"' in text
    live = (await page(world, f"/jobs/{job.id}?project=team-a&live=1")).text
    assert "<html" not in live
    assert "step 20 of 40" in live


async def test_an_ended_job_is_not_followed(world: World) -> None:
    job = await training(world)
    await world.move(job.id, P.FAILED, project="team-a", message="exit code 1")
    text = (await page(world, f"/jobs/{job.uid}")).text
    assert "data-follow" not in text
    assert "data-ended" in text
    assert "exit code 1" in text
    assert f"<code>raysvc job logs {job.id}</code>" in text


async def test_nothing_a_user_wrote_is_markup(world: World) -> None:
    evil = "<img src=x onerror=alert(1)>'\"&{{7*7}}"
    job = await world.submit(f"echo {evil!r}", name=evil, labels={evil: evil})
    job = await world.move(job.id, P.STARTING, P.RUNNING)
    await world.write(job, evil.encode())
    world.backend.ray.files[job.uid] = {
        evil: (b"", world.clock.now()),
        "metrics.jsonl": (json.dumps({"step": 1, evil: 1}).encode(), world.clock.now()),
    }
    await world.move(job.id, P.FAILED, message=evil)
    for path in ("/jobs", f"/jobs/{job.id}", f"/jobs?name_prefix={httpx.QueryParams({'a': evil})['a']}"):
        text = (await world.call("GET", path, as_=await session(world))).text
        assert "<img src=x" not in text, path
        assert "{{7*7}}" in text, path


async def test_scripts_need_the_nonce_of_their_page(world: World) -> None:
    one, two = await page(world, "/jobs"), await page(world, "/jobs")
    nonces = [
        re.search(r"script-src 'nonce-([^']+)'", reply.headers["content-security-policy"]) for reply in (one, two)
    ]
    assert nonces[0]
    assert nonces[1]
    assert nonces[0][1] != nonces[1][1]
    assert f'nonce="{nonces[0][1]}"' in one.text
    policy = one.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert one.headers["cache-control"] == "no-store"


async def test_a_job_that_cannot_be_seen_is_a_page_that_says_so(world: World) -> None:
    job = await world.submit(project="team-a")
    outsider = await session(world, Role.VIEWER, "team-b")
    reply = await world.call("GET", f"/jobs/{job.id}?project=team-a", as_=outsider)
    assert (reply.status_code, reply.headers["content-type"]) == (404, "text/html; charset=utf-8")


async def test_the_api_is_described_without_a_session(world: World) -> None:
    reply = await world.call("GET", "/docs", as_={})
    assert reply.status_code == 200
    for said in ("/v1/jobs/{job_id}/stop", "Idempotency-Key", 'id="schema-JobSpec"', "Takes at least: member"):
        assert said in reply.text


async def test_assets_are_served_and_nothing_else(world: World) -> None:
    for name, kind in (("style.css", "text/css"), ("live.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        reply = await world.call("GET", f"/assets/{name}", as_={})
        assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (200, kind)
    for name in ("nope", "..%2froute.py", "style.css%00"):
        assert (await world.call("GET", f"/assets/{name}", as_={})).status_code in {400, 404}
