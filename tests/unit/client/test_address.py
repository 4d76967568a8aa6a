"""Ray's hook: `raysvc://PROJECT` becomes an address and a header, without ray and without httpx."""

import subprocess
import sys

import pytest
from ray.dashboard.modules.dashboard_sdk import parse_cluster_info

import raysvc
from raysvc.errors import Invalid


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSVC_URL", "http://127.0.0.1:8500/")
    monkeypatch.setenv("RAYSVC_TOKEN", "raysvc_t")
    monkeypatch.delenv("RAYSVC_PROJECT", raising=False)


def test_rays_own_client_takes_the_address() -> None:
    found = parse_cluster_info("raysvc://team-a", create_cluster_if_needed=True)
    assert found.address == "http://127.0.0.1:8500/p/team-a"
    assert found.headers == {"Authorization": "Bearer raysvc_t"}
    assert found.metadata is None


def test_no_project_is_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_cluster_info("raysvc://").address.endswith("/p/default")
    monkeypatch.setenv("RAYSVC_PROJECT", "team-b")
    assert parse_cluster_info("raysvc://").address.endswith("/p/team-b")


def test_what_the_caller_gives_stays_and_nothing_is_added_to_metadata() -> None:
    found = raysvc.get_job_submission_client_cluster_info(
        "a", cookies={"c": "1"}, metadata={"m": "2"}, headers={"authorization": "Bearer mine", "x": "y"}, later=1
    )
    assert found.headers == {"authorization": "Bearer mine", "x": "y"}
    assert found.cookies == {"c": "1"}
    assert found.metadata == {"m": "2"}


def test_a_project_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="does not name a project"):
        raysvc.get_job_submission_client_cluster_info("Team A")


def test_import_raysvc_is_cheap_and_the_hook_needs_neither_ray_nor_httpx() -> None:
    program = (
        "import sys, raysvc\n"
        "assert not {'pydantic', 'httpx', 'psutil'} & set(sys.modules)\n"
        "assert 'get_job_submission_client_cluster_info' in dir(raysvc)\n"
        "raysvc.get_job_submission_client_cluster_info('a')\n"
        "assert not {'ray', 'httpx', 'fastapi', 'sqlalchemy'} & set(sys.modules)\n"
        "raysvc.Client\n"
        "assert not {'ray', 'fastapi', 'sqlalchemy', 'alembic'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = raysvc.nothing
