"""Which paths of a cluster pass, and for whom."""

import pytest

from raysvc.api.cluster.allow import Access, dashboard_access, state_access

UI = (
    "",
    "favicon.ico",
    "static/js/main.84605326.js",
    "static/css/main.ec1426f1.css",
    "nodes",
    "nodes/0a1b",
    "logical/actors",
    "logical/actors/0a1b",
    "api/jobs",
    "api/jobs/",
    "api/jobs/job-01m86awrjahps99n-1",
    "events",
    "timezone",
    "usage_stats_enabled",
    "api/grafana_health",
    "api/prometheus_health",
    "api/train/v2/runs/v1",
    "api/data/datasets/02000000",
    "api/cluster_status",
    "api/serve/applications/",
    "api/v0/platform_events",
)
STATE = (
    "api/v0/actors",
    "api/v0/jobs",
    "api/v0/tasks/summarize",
    "api/v0/tasks/timeline",
    "api/v0/runtime_envs",
    "api/v0/cluster_metadata",
    "nodes",
    "api/cluster_status",
    "api/serve/applications",
)
NOBODY = (
    "test/dump",
    "api/v0/delay/100",
    "api/packages/gcs/x.zip",
    "api/jobs/x/logs",
    "api/jobs/x/logs/tail",
    "api/authenticate",
    "report_events",
    "api/task_events",
    "api/prometheus/sd",
    "metrics",
    "static/../nodes",
    "static/..",
    "static//x",
    "static/",
    "nodes/",
    "nodes/../api/packages/gcs/x",
    "nodes/a/b",
    "nodes/%2e%2e",
    "../nodes",
    "/nodes",
    "nodes\n",
    "nodes?x",
    "index.html/..",
    "api/v0/jobs/",
    "api/v0//jobs",
    "API/V0/JOBS",
    "api/v0/logs/../jobs",
    "nodes/ä",
)


@pytest.mark.parametrize("path", UI)
def test_the_ui_reads_what_it_needs(path: str) -> None:
    assert dashboard_access(path) is Access.READ


@pytest.mark.parametrize("path", STATE)
def test_state_commands_read_what_they_need(path: str) -> None:
    assert state_access(path) is Access.READ


@pytest.mark.parametrize("path", ["memory_profile", "worker/traceback", "worker/cpu_profile", "task/traceback"])
def test_profilers_are_for_admins(path: str) -> None:
    assert state_access(path) is dashboard_access(path) is Access.PROFILE


@pytest.mark.parametrize("path", ["api/v0/logs", "api/v0/logs/file", "api/v0/logs/stream"])
def test_log_files_are_for_admins(path: str) -> None:
    assert state_access(path) is dashboard_access(path) is Access.FILES


@pytest.mark.parametrize("path", NOBODY)
def test_everything_else_passes_for_nobody(path: str) -> None:
    assert dashboard_access(path) is None
    assert state_access(path) is None


def test_the_ui_is_no_part_of_the_state() -> None:
    assert state_access("") is None
    assert state_access("static/js/main.js") is None
