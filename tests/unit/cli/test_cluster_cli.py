"""`raysvc cluster` from create to delete, and jobs on it, against the real API on fakes."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import Result

from raysvc.client.client import Client
from raysvc.domain.cluster import ClusterSpec
from raysvc.domain.resources import Scale
from raysvc.errors import NotFound
from raysvc.testing.backend import FakeBackend
from raysvc.testing.shared_clusters import FakeSharedClusters

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Site

Run = Callable[..., Result]
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def shared(site: "Site", client: Client) -> Iterator[FakeSharedClusters]:
    backend = site.platform.backend
    assert isinstance(backend, FakeBackend)
    yield backend.shared
    backend.shared.strangers.clear()
    for cluster in client.clusters.list():
        if cluster.owner == "raysvc":
            with suppress(NotFound):  # it was on its way out, and is gone by now
                client.clusters.delete(cluster.name, force=True)
    until(lambda: {it.owner for it in client.clusters.list()} == {"platform"})


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def shown(run: Run, *words: str) -> Any:
    return json.loads(run(*words, "-o", "json").stdout)


def spec_of(shared: FakeSharedClusters, name: str) -> ClusterSpec:
    """Return the spec of the cluster as the backend was told of it."""
    until(lambda: any(it.id == name for it in list(shared.there.values())))
    return next(it.spec for it in list(shared.there.values()) if it.id == name)


def test_a_cluster_is_made_from_a_command_runs_a_job_and_is_deleted(run: Run, client: Client) -> None:
    made = run("cluster", "create", "lab", "--workers", "0:4", "--cpus", "8", "--gpus", "1")
    assert made.stderr == "Cluster lab is being made. See it: raysvc cluster get lab --project default\n"
    job = run("job", "submit", "-o", "id", "--cluster", "lab", "--wait", "--", "echo", "hi").stdout.strip()
    assert (client.jobs.get(job).cluster, client.jobs.get(job).spec.cluster) == ("lab", "lab")
    assert run("cluster", "list", "-o", "id").stdout == "lab\nlocal\n"
    shown_ = run("cluster", "get", "lab").stdout
    assert "0 to 4 workers, 0 wanted" in shown_
    assert "32 CPU, 4 GPU" in shown_
    assert "lab is being removed" in run("cluster", "delete", "lab").stderr
    until(lambda: run("cluster", "list", "-o", "id").stdout == "local\n")
    run("cluster", "get", "lab", code=4)
    gone = run("job", "submit", "--cluster", "lab", "--", "true", code=3)
    assert "raysvc cluster create lab" in gone.stderr.replace("\n", " ")


def test_a_cluster_with_a_job_is_deleted_by_force_alone(run: Run) -> None:
    run("cluster", "create", "lab")
    job = run("job", "submit", "-o", "id", "--cluster", "lab", "--", "sleep", "600").stdout.strip()
    refused = run("cluster", "delete", "lab", code=3)
    assert "1 job(s)" in refused.stderr
    assert "--force" in refused.stderr
    run("cluster", "delete", "lab", "--force")
    until(lambda: shown(run, "job", "get", job)["phase"] == "CANCELLED")


def test_every_option_reaches_the_spec_and_wins_over_the_file(
    run: Run, shared: FakeSharedClusters, tmp_path: Path
) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(
        "image: ray:1\nsuspend_ttl_s: 60\nshape: {workers: [{name: train, resources: {cpus: 2, gpus: 1}}]}\n"
    )
    options = "--workers 1:3 --memory 2GiB --accelerator H100 --image ray:2 --max-jobs 7 --idle-ttl 2m"
    run("cluster", "create", "lab", "-f", str(file), *options.split())
    spec = spec_of(shared, "lab")
    assert (spec.image, spec.max_running_jobs, spec.idle_ttl_s, spec.suspend_ttl_s) == ("ray:2", 7, 120, 60)
    (group,) = spec.shape.workers
    assert (group.name, group.accelerator, group.scale) == ("train", "H100", Scale(min=1, want=1, max=3))
    assert (group.resources.cpus, group.resources.gpus, group.resources.memory) == (2, 1, 2 << 30)


def test_a_file_with_a_wrong_word_or_more_groups_than_options_can_mean_is_said(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("idle_ttl: 5\n")
    wrong = run("cluster", "create", "lab", "-f", str(file), code=3)
    assert f"{file}:1: idle_ttl: there is no such field; did you mean idle_ttl_s?" in wrong.stderr.replace("\n", "")
    file.write_text("shape: {workers: [{name: a}, {name: b}]}\n")
    assert "several groups" in run("cluster", "create", "lab", "-f", str(file), "--cpus", "1", code=2).stderr
    for bounds in ("many", "3:1", "-1:2"):
        assert "MIN:MAX" in run("cluster", "create", "lab", f"--workers={bounds}", code=2).stderr


def test_scaling_asks_for_other_bounds_and_a_fixed_size_has_no_range(run: Run, shared: FakeSharedClusters) -> None:
    run("cluster", "create", "lab", "--workers", "0:2")
    assert "lab may have 1 to 5 workers" in run("cluster", "scale", "lab", "--workers", "1:5").stderr
    until(lambda: spec_of(shared, "lab").workers.max == 5)
    assert (
        "no group of workers 'none'"
        in run("cluster", "scale", "lab", "--workers", "1", "--group", "none", code=3).stderr
    )
    run("cluster", "create", "fixed", "--workers", "2")
    assert "none: its size is fixed" in run("cluster", "get", "fixed").stdout
    refused = run("cluster", "scale", "fixed", "--workers", "1:4", code=3).stderr.replace("\n", " ")
    assert "no autoscaler" in refused
    assert "(field max)" in refused
    run("cluster", "scale", "fixed", "--workers", "3")
    until(lambda: spec_of(shared, "fixed").workers.want == 3)


def test_dry_runs_change_nothing_and_show_the_request(run: Run, shared: FakeSharedClusters) -> None:
    made = shown(run, "cluster", "create", "lab", "--workers", "2", "--dry-run")
    assert (made["method"], made["path"], made["body"]["name"]) == ("POST", "/v1/clusters", "lab")
    assert run("cluster", "list", "-o", "id").stdout == "local\n"
    run("cluster", "create", "lab")
    scaled = shown(run, "cluster", "scale", "lab", "--workers", "2:3", "--dry-run")
    assert (scaled["path"], scaled["body"]["max"]) == ("/v1/clusters/lab/scale", 3)
    deleted = shown(run, "cluster", "delete", "lab", "--force", "--dry-run")
    assert (deleted["method"], deleted["query"]) == ("DELETE", {"project": "default", "force": "true"})
    assert "0 to 1 workers" in run("cluster", "get", "lab").stdout
    shared.strangers["by-hand"] = "default"
    assert shown(run, "cluster", "adopt", "by-hand", "--dry-run")["path"] == "/v1/clusters/by-hand/adopt"
    assert shown(run, "cluster", "get", "by-hand")["owner"] == "foreign"


def test_a_cluster_of_others_is_listed_and_adopted(run: Run, shared: FakeSharedClusters) -> None:
    shared.strangers["by-hand"] = "default"
    assert "foreign" in run("cluster", "list").stdout
    assert "by-hand is the project's now" in run("cluster", "adopt", "by-hand").stderr
    assert shown(run, "cluster", "get", "by-hand")["owner"] == "raysvc"
    assert "raysvc cluster list" in run("cluster", "adopt", "nobodys", code=4).stderr.replace("\n", " ")


def test_the_way_to_a_cluster_names_no_token(run: Run, site: "Site") -> None:
    run("cluster", "create", "lab")
    way = shown(run, "cluster", "connect", "lab")
    assert (way["address"], way["metadata"]) == (f"{site.url}/p/default", {"raysvc.cluster": "lab"})
    assert "raysvc.cluster=lab" in run("cluster", "connect", "lab").stdout
    assert f"{site.url}/dashboards/local" in run("cluster", "connect", "local").stdout
    assert run("cluster", "connect", "lab", "-o", "id").stdout == f"{site.url}/p/default\n"


def test_what_cannot_be_is_said(run: Run) -> None:
    assert "platform's own" in run("cluster", "create", "local", code=3).stderr
    run("cluster", "create", "lab")
    run("cluster", "create", "lab", code=3)
    assert "refuses this image" in run("cluster", "create", "other", "--image", "refused", code=3).stderr
    for verb in (("scale", "nobody", "--workers", "1"), ("delete", "nobody"), ("connect", "nobody")):
        run("cluster", *verb, code=4)
