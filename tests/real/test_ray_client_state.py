"""Ray's state commands and its dashboard through the front, on a Ray that is really there."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, sync_playwright

from raysvc.backends.local import LocalBackend, LocalConfig
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.project import Role
from tests.real.ray_front import TOKEN, Front

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SECRET = "hf_very_secret"
PLAIN = "an-ordinary-value"
PATIENCE_S = 180.0
REPLY_S = 60.0
# A driver that Ray knows as one, with an actor to show.
DRIVER = """
import ray, time
ray.init()
@ray.remote(num_cpus=0)
class Keeper:
    def hold(self):
        return "held"
keeper = Keeper.options(name="keeper").remote()
print(ray.get(keeper.hold.remote()), flush=True)
time.sleep(1000)
"""


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """Return a front with two jobs that run: `plain`, and `driver` with a secret in its environment."""
    with tempfile.TemporaryDirectory(prefix="rs") as folder:  # short: sockets' paths have 107 bytes
        config = LocalConfig(data_dir=Path(folder) / "d", num_cpus=2, object_store_memory=200 << 20)
        config.data_dir.mkdir()
        # Where this is run by root, jobs are somebody else, who must be able to read the driver.
        Path(folder).chmod(0o755)
        (Path(folder) / "driver.py").write_text(DRIVER)
        with Front(Path(folder), lambda materials, clock: LocalBackend(config, materials, clock)) as served:
            served.call(served.platform.vault.put("default", "HF_TOKEN", SECRET))
            until(lambda: served.call(served.platform.backend.clusters.get("local")).phase is ClusterPhase.READY)
            environment = {"env_vars": {"HF_TOKEN": "${secret:HF_TOKEN}", "PLAIN": PLAIN}}
            submit(served, entrypoint="echo hello; sleep 1000", submission_id="plain")
            command = f"{sys.executable} -u {folder}/driver.py"
            submit(served, entrypoint=command, submission_id="driver", runtime_env=environment)
            until_said(served, "driver", "held")
            until_said(served, "plain", "hello")
            yield served


def until(true: Callable[[], bool], why: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, why()
        time.sleep(0.1)


def until_said(front: Front, job_id: str, said: str) -> None:
    def log() -> str:
        return get(front, f"/api/jobs/{job_id}/logs").text

    until(lambda: said in log(), lambda: get(front, f"/api/jobs/{job_id}").text + log())


def submit(front: Front, **body: Any) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    httpx.post(f"{front.url}/api/jobs/", json=body, headers=headers, timeout=REPLY_S).raise_for_status()


def get(front: Front, path: str, token: str = TOKEN) -> httpx.Response:
    return httpx.get(front.url + path, headers={"Authorization": f"Bearer {token}"}, timeout=REPLY_S)


def rows(front: Front, path: str) -> list[dict[str, Any]]:
    reply = get(front, path)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["data"]["result"]["result"]
    return found


def uid(front: Front, job_id: str) -> str:
    return str(get(front, f"/api/jobs/{job_id}").json()["raysvc"]["uid"])


def test_ray_list_jobs_knows_our_ids(front: Front) -> None:
    told = front.ray("list", "jobs", "--address", front.url, "--format", "json", "--detail")
    assert told.returncode == 0, told.stdout
    listed = {job["submission_id"]: job for job in json.loads(told.stdout[told.stdout.index("[") :])}
    assert set(listed) == {"plain", "driver"}
    assert listed["plain"]["status"] == "RUNNING"
    one = front.ray("list", "jobs", "--address", front.url, "--filter", "submission_id=plain")
    assert "Total: 1" in one.stdout, one.stdout
    assert SECRET not in told.stdout


def test_the_other_state_commands(front: Front) -> None:
    nodes = front.ray("list", "nodes", "--address", front.url)
    assert "Total: 1" in nodes.stdout, nodes.stdout
    actors = front.ray("list", "actors", "--address", front.url, "--detail")
    assert "keeper" in actors.stdout, actors.stdout
    summary = front.ray("summary", "actors", "--address", front.url)
    assert "Keeper" in summary.stdout, summary.stdout


def test_the_state_apis_log_of_a_job_is_our_archive(front: Front) -> None:
    # `ray logs job` itself asks the GCS for its address (2.60), so no HTTP front can serve the command.
    reply = get(front, "/api/v0/logs/file?submission_id=plain&lines=-1")
    assert reply.status_code == 200
    assert "hello\n" in reply.text


def test_the_environment_that_the_cluster_knows_does_not_come_out(front: Front) -> None:
    endpoint = front.call(front.platform.backend.endpoint("local"))  # type: ignore[attr-defined] # LocalBackend is Reachable
    external = f"job-{uid(front, 'driver')}-1"
    direct = httpx.get(f"{endpoint.url}/api/jobs/{external}", headers=endpoint.headers, timeout=REPLY_S)
    assert PLAIN in direct.text  # or this test would show nothing
    assert SECRET not in direct.text + get(front, "/api/jobs/driver").text
    for path in (
        "/api/v0/jobs?detail=true",
        "/api/v0/actors?detail=true",
        "/api/v0/runtime_envs?detail=true",
        "/api/v0/workers?detail=true",
        "/nodes?view=summary",
    ):
        reply = get(front, path)
        assert reply.status_code == 200, path
        assert PLAIN not in reply.text, path
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("api/jobs/", f"api/jobs/{external}", "logical/actors", "nodes?view=summary"):
        reply = httpx.get(f"{front.dashboard_url}/clusters/local/{path}", headers=headers, timeout=REPLY_S)
        assert reply.status_code == 200, path
        assert PLAIN not in reply.text, path


def test_a_drivers_id_leads_to_its_job(front: Front) -> None:
    [row] = [job for job in rows(front, "/api/v0/jobs") if job["submission_id"] == "driver"]
    assert get(front, f"/api/jobs/{row['job_id']}").json()["submission_id"] == "driver"


def test_another_projects_token_is_told_why_it_sees_nothing(front: Front) -> None:
    token = front.token(Role.ADMIN, "team-a")
    told = front.ray("list", "nodes", "--address", front.url, RAY_AUTH_TOKEN=token)
    assert told.returncode != 0
    assert "also holds jobs of 1 other project" in told.stdout


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """Return a page of a fresh Chromium; the test fails where a policy of ours kept the UI from something."""
    refused: list[str] = []
    with sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "browser", executable_path=shutil.which("chromium"), args=arguments
        )
        made = context.new_page()
        made.on("console", lambda said: refused.append(said.text) if "Content Security" in said.text else None)
        yield made
        context.close()
    assert refused == []


@pytest.mark.browser
def test_the_dashboard_opens_in_a_browser(front: Front, page: Page) -> None:
    page.set_default_timeout(60_000)
    page.goto(f"{front.url}/dashboards/local")
    assert "/login" in page.url
    page.fill("input[name=token]", front.token(Role.VIEWER))
    page.click("button[type=submit]")
    page.wait_for_url(f"{front.dashboard_url}/clusters/local/**")
    assert "ticket" not in page.url
    page.get_by_text("Cluster utilization").first.wait_for()
    page.goto(f"{front.dashboard_url}/clusters/local/#/jobs")
    page.get_by_text(f"job-{uid(front, 'plain')}-1").first.wait_for()
    page.goto(f"{front.dashboard_url}/clusters/local/#/actors")
    page.get_by_text("keeper").first.wait_for()
    page.goto(f"{front.dashboard_url}/clusters/local/#/cluster")
    page.get_by_text("ALIVE").first.wait_for()
