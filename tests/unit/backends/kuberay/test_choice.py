"""`--kube` is a choice: what goes with it, what does not, and that nobody else pays for it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raysvc.backends.kuberay import KubeBackend
from raysvc.bootstrap.clock import SystemClock
from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.kube import load_kuberay
from raysvc.bootstrap.place import place_of
from raysvc.domain.job import JobRef
from raysvc.errors import Invalid
from raysvc.settings import Settings
from tests.contract.backend.lab import MemoryMaterials
from tests.unit.backends.kuberay.scene import job_of


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"context": "dev"}, "--context goes with --kube"),
        ({"namespace": "jobs"}, "--namespace goes with --kube"),
        ({"ray_image": "ray:1"}, "--ray-image goes with --kube"),
        ({"kube": True, "ray_address": "http://x"}, "--ray-address is of a Ray on a machine"),
        ({"kube": True, "num_cpus": 2}, "--num-cpus is of a Ray on a machine"),
        ({"kube": True, "job_user": "nobody"}, "--job-user is of a Ray on a machine"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        Settings.model_validate({"data_dir": tmp_path, **given})


def test_several_servers_may_share_a_kubernetes(tmp_path: Path) -> None:
    shared = {"data_dir": tmp_path, "shared_dir": tmp_path, "database_url": "postgresql://x"}
    assert Settings.model_validate({**shared, "kube": True}).kube
    with pytest.raises(Invalid, match="--kube"):
        Settings.model_validate(shared)


def test_a_server_knows_its_jobs_again_and_one_that_was_restored_from_its_backup_does_not_take_them(
    tmp_path: Path,
) -> None:
    def labels(data_dir: Path) -> dict[str, str]:
        data_dir.mkdir(exist_ok=True)
        settings = Settings(data_dir=data_dir, kube=True, namespace="jobs", ray_image="ray:2.55.0")
        place = place_of(settings, DataDir(data_dir), MemoryMaterials(), SystemClock())
        assert isinstance(place.backend, KubeBackend)
        assert place.cluster == "kube"
        *_, ray_job = [found for found in place.backend.jobs.render(job_of()).documents if "kind" in found]
        assert ray_job["spec"]["rayClusterSpec"]["rayVersion"] == "2.55.0"
        found: dict[str, str] = ray_job["metadata"]["labels"]
        return found

    first = labels(tmp_path / "a")["raysvc.dev/instance"]
    assert labels(tmp_path / "a")["raysvc.dev/instance"] == first
    assert labels(tmp_path / "b")["raysvc.dev/instance"] != first


def test_a_server_without_it_does_not_load_kubernetes() -> None:
    program = "import sys, raysvc.bootstrap, raysvc.cli.doctor; sys.exit('kubernetes' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_its_client_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("raysvc.backends.kuberay")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kubernetes.aio.client", None)
    with pytest.raises(Invalid, match=r"raysvc\[kube\]"):
        load_kuberay()


def test_dry_runs_foresee_a_stop_and_a_delete(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, kube=True)
    jobs = place_of(settings, DataDir(tmp_path), MemoryMaterials(), SystemClock()).backend.jobs
    ref = JobRef(uid="0" * 16, attempt=1)
    paths = [document["path"] for document in jobs.render_delete(ref).documents]  # type: ignore[attr-defined]
    assert paths[0] == f"/api/jobs/{ref.name}/stop"
    assert paths[1].endswith(f"/rayjobs/{ref.name}")
