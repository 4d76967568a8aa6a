"""What a person does in a browser: log in, look at the jobs, watch one run. And what a browser may not do."""

import json
import re
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from raysvc.domain.job import JobPhase
from tests.browser.site import ROOT, Site

pytestmark = pytest.mark.browser

P = JobPhase
METRICS = "\n".join(
    json.dumps({"step": s, "total_steps": 40, "loss": 8 / s, "tokens_per_s": 5000 + s}) for s in range(1, 21)
)


async def log_in(page: Page, site: Site) -> None:
    await page.goto("/")
    await page.get_by_label("Token").fill(site.token)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/jobs")


async def test_a_token_opens_the_jobs_and_a_wrong_one_does_not(page: Page, site: Site) -> None:
    await page.goto("/jobs")
    await expect(page).to_have_url(re.compile("/login"))
    await page.get_by_label("Token").fill("raysvc_wrong")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("not known")
    await page.get_by_label("Token").fill(site.token)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    await expect(page.get_by_text("No job here.")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await page.goto("/jobs")
    await expect(page).to_have_url(re.compile("/login"))


async def test_the_list_comes_up_to_date_by_itself(page: Page, site: Site) -> None:
    await log_in(page, site)
    job = await site.submit("sleep infinity", name="alpha")
    row = page.get_by_role("row").filter(has_text="alpha")
    await expect(row).to_contain_text("RUNNING")
    await site.platform.desk.stop(ROOT, "default", job.id)
    await expect(row).to_contain_text("CANCELLED")


async def test_the_list_is_filtered_by_its_form(page: Page, site: Site) -> None:
    await site.submit("true", name="alpha", labels={"team": "nlp"})
    await site.submit("true", name="beta")
    await log_in(page, site)
    await page.get_by_label("Label").fill("team:nlp")
    await page.get_by_role("button", name="Filter").click()
    await expect(page.get_by_role("link", name="alpha")).to_be_visible()
    await expect(page.get_by_role("link", name="beta")).to_have_count(0)
    await page.get_by_role("link", name="Clear").click()
    await expect(page.get_by_role("link", name="beta")).to_be_visible()


async def test_a_running_job_is_watched_to_its_end(page: Page, site: Site) -> None:
    job = await site.submit(
        f"echo '{METRICS}' > $RAYSVC_OUTPUT_DIR/metrics.jsonl; echo first line; sleep 600; echo last line", name="train"
    )
    await site.reaches(job, P.RUNNING)
    await log_in(page, site)
    await page.get_by_role("link", name="train").click()
    log = page.get_by_label("Log", exact=True)
    await expect(log).to_contain_text("first line")
    await expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.5")
    plot = page.get_by_role("img", name=re.compile(r"Steps 1 to 20: loss ends at 0\.4"))
    box = await plot.bounding_box()
    assert box is not None
    assert box["width"] > 300
    assert box["height"] > 100
    assert await plot.locator("path.curve").count() == 1
    await expect(page.locator("#following")).to_have_text("following")
    await expect(log).not_to_contain_text("last line")
    # From here on neither the log nor the state is asked for again by hand.
    site.skip(await site.reaches(job, P.RUNNING), 600)
    await expect(log).to_contain_text("last line")
    await expect(page.locator("#following")).to_have_text("complete")
    await expect(page.get_by_role("heading", name="train")).to_contain_text("SUCCEEDED")


async def test_a_page_shows_its_log_without_script(site: Site, context: BrowserContext) -> None:
    job = await site.submit("echo plain words", name="plain")
    await site.reaches(job, P.SUCCEEDED)
    page = await context.new_page()
    await page.route("**/assets/live.js*", lambda route: route.abort())
    await log_in(page, site)
    await page.goto(f"/jobs/{job.id}")
    await expect(page.get_by_label("Log", exact=True)).to_have_text("plain words\n")


async def test_a_files_link_downloads_it(page: Page, site: Site) -> None:
    job = await site.submit("echo weights > $RAYSVC_OUTPUT_DIR/model.bin")
    await site.reaches(job, P.SUCCEEDED)
    await log_in(page, site)
    await page.goto(f"/jobs/{job.id}")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="model.bin").click()
    path = await (await download.value).path()
    assert path.read_text() == "weights\n"


async def test_nothing_a_user_wrote_runs(page: Page, site: Site) -> None:
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    job = await site.submit(f"echo {json.dumps(evil)}; exit 1", name=evil[:128], labels={"<b>x</b>": evil})
    await site.reaches(job, P.FAILED)
    await log_in(page, site)
    await page.goto(f"/jobs/{job.id}")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("<img src=x")
    assert "owned" not in (await page.title()).replace(evil[:128], "")
    assert await page.locator("img[src='x']").count() == 0


async def fetch(page: Page, method: str, path: str, body: object = None) -> Any:
    script = """async ([method, path, body]) => {
        const options = { method, body: body && JSON.stringify(body), headers: { "Content-Type": "application/json" } };
        const reply = await fetch(path, options);
        return [reply.status, await reply.json()];
    }"""
    return await page.evaluate(script, [method, path, body])


async def test_a_session_may_look_and_not_touch(page: Page, site: Site) -> None:
    job = await site.submit("sleep infinity")
    await log_in(page, site)
    status, listed = await fetch(page, "GET", "/v1/jobs")
    assert (status, listed["items"][0]["id"]) == (200, job.id)
    for method, path, body in (
        ("POST", "/v1/jobs", {"spec": {"entrypoint": "true"}}),
        ("POST", f"/v1/jobs/{job.id}/stop", None),
        ("DELETE", f"/v1/jobs/{job.id}", None),
        ("PUT", "/v1/secrets/A", {"value": "x"}),
    ):
        status, problem = await fetch(page, method, path, body)
        assert (status, problem["code"]) == (403, "forbidden"), path
    assert not (await site.platform.store.jobs.get_by_uid(job.uid)).stop_requested


async def test_another_sites_page_can_neither_read_nor_write(page: Page, site: Site, context: BrowserContext) -> None:
    await log_in(page, site)
    other = await context.new_page()
    # Another origin of the same host: the cookie is sent there too, so only Origin and Sec-Fetch-Site tell them apart.
    foreign = site.url.replace("127.0.0.1", "127.0.0.2")

    async def answer(route: Any) -> None:
        await route.fulfill(body="<title>evil</title>", content_type="text/html")

    await other.route(f"{foreign}/**", answer)
    await other.goto(f"{foreign}/")
    script = """async (url) => {
        const attempts = [
            [url + "/v1/jobs", { credentials: "include" }],
            [url + "/v1/jobs", { method: "POST", mode: "no-cors", credentials: "include", body: "{}" }],
        ];
        return Promise.all(attempts.map(async ([to, how]) => {
            try { const reply = await fetch(to, how); return reply.type + " " + reply.status; }
            catch (error) { return "blocked"; }
        }));
    }"""
    read, written = await other.evaluate(script, site.url)
    assert read == "blocked"
    assert written in {"blocked", "opaque 0"}
    assert (await fetch(page, "GET", "/v1/jobs"))[1]["items"] == []


async def test_no_other_page_may_frame_ours(page: Page, site: Site) -> None:
    await log_in(page, site)
    reply = await page.goto("/jobs")
    assert reply is not None
    assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


async def test_the_api_page_opens_an_operation(page: Page, site: Site) -> None:
    assert site.url
    await page.goto("/docs")
    operation = page.locator("details").filter(has_text="Submit a job").first
    await expect(operation.get_by_text("Idempotency-Key", exact=True)).not_to_be_visible()
    await operation.locator("summary").click()
    await expect(operation.get_by_text("Idempotency-Key", exact=True)).to_be_visible()
