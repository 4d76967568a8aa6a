"""raysvc on Kubernetes as it is installed: with the rights of manifests/, in a pod and from outside."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysvc.domain.job import JobPhase
from tests.cluster.failure import ClusterError
from tests.cluster.plan import Plan
from tests.kube.installed import JOBS, MANIFESTS, Installed, install, remove
from tests.kube.kubectl import Kubectl
from tests.kube.server import KubeServer, ray

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]
RUN_S = 300.0
# What a job finds of Kubernetes: no token, and an API server that tells a stranger nothing.
PROGRAM = """
import os, ssl, urllib.error, urllib.request, ray
ray.init(log_to_driver=False)
print("said", ray.get(ray.remote(lambda: 6 * 7).remote()))
print("token", os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"))
print("user", os.getuid())
try:
    url = "https://kubernetes.default.svc/api/v1/namespaces/raysvc-jobs/secrets"
    urllib.request.urlopen(url, context=ssl._create_unverified_context(), timeout=20)
except urllib.error.HTTPError as error:
    print("api", error.code)
"""


@pytest.fixture(scope="module")
def installed(kubernetes: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    kubectl, folder = Kubectl(kubernetes.kubeconfig), tmp_path_factory.mktemp("installed")
    folder.parent.parent.chmod(0o755)
    try:
        yield install(kubectl, folder)
    finally:
        remove(kubectl, folder)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    return folder


@pytest.mark.parametrize("overlay", ["plain", "aks", "baremetal", "postgres"])
def test_the_api_server_takes_each_overlay(overlay: str, kubernetes: Plan) -> None:
    kubectl = Kubectl(kubernetes.kubeconfig)
    documents = list(yaml.safe_load_all(kubectl.kustomize(MANIFESTS / "overlays" / overlay)))
    assert {found["kind"] for found in documents} >= {"Deployment", "Role", "PersistentVolumeClaim", "NetworkPolicy"}
    # A dry run makes no namespace for what comes after it: all goes into one that is there.
    kubectl.apply(*(_in_default(found) for found in documents), dry_run=True)


def test_doctor_is_all_green_in_the_pod(installed: Installed) -> None:
    findings = json.loads(installed.within("raysvc", "doctor", "--kube", "--output=json"))
    assert [found for found in findings if found["state"] != "ok"] == []
    assert {found["subject"] for found in findings} == {
        "Kubeconfig",
        "API server",
        "Right",
        "KubeRay",
        "Operator",
        "Nodes",
    }


def test_doctor_names_each_right_that_is_taken_away(installed: Installed) -> None:
    roles = [
        found for found in yaml.safe_load_all((MANIFESTS / "base" / "rights.yaml").read_text()) if "rules" in found
    ]
    installed.kubectl.apply(*({**role, "rules": []} for role in roles))
    try:
        said = installed.within("sh", "-c", "raysvc doctor --kube || echo and exits with $?")
    finally:
        installed.kubectl.apply(*roles)
    for role in roles:
        for rule in role["rules"]:
            for resource in rule["resources"]:
                assert re.search(rf"may not {', '.join(rule['verbs'])} {resource} ", said), resource
    assert said.endswith("and exits with 1\n")


def test_a_job_of_rays_own_client_runs_and_can_do_nothing(installed: Installed, code: Path) -> None:
    said = ray(installed.url, installed.token, "job", "submit", "--working-dir", str(code), "--", "python", "train.py")
    assert re.findall(r"^(said|token|user|api) (.*)$", said, re.MULTILINE) == [
        ("said", "42"),
        ("token", "False"),
        ("user", "1000"),
        ("api", "403"),
    ]


def test_the_same_from_outside_with_the_account_of_the_manifests(
    installed: Installed, code: Path, tmp_path: Path
) -> None:
    kubeconfig = installed.kubeconfig(tmp_path)
    server = KubeServer(tmp_path / "raysvc", kubeconfig, kubernetes_image(installed), "--namespace", JOBS)
    try:
        with server.start() as client:
            said = server.ray("job", "submit", "--working-dir", str(code), "--", "python", "train.py")
            assert "said 42" in said
            (job,) = client.jobs.list()
            assert job.phase is JobPhase.SUCCEEDED
    finally:
        server.end(signal.SIGTERM)


def test_a_tenants_account_can_do_nothing(installed: Installed, tmp_path: Path) -> None:
    tenant = Kubectl(installed.kubeconfig(tmp_path, "default", JOBS))
    for verb, resource in (
        ("list", "pods"),
        ("create", "pods"),
        ("get", "secrets"),
        ("list", "rayjobs.ray.io"),
        ("delete", "rayclusters.ray.io"),
        ("get", "services/proxy"),
        ("list", "nodes"),
    ):
        with pytest.raises(ClusterError, match=r"\nno\b"):
            tenant("auth", "can-i", verb, resource, "--namespace", JOBS)


def test_the_server_cannot_leave_its_bounds(installed: Installed, tmp_path: Path) -> None:
    account = Kubectl(installed.kubeconfig(tmp_path))
    for verb, resource, namespace in (
        ("get", "secrets", "raysvc"),
        ("get", "secrets", "kube-system"),
        ("create", "pods", JOBS),
        ("create", "roles", JOBS),
        ("patch", "nodes", JOBS),
    ):
        with pytest.raises(ClusterError):
            account("auth", "can-i", verb, resource, "--namespace", namespace)


def kubernetes_image(installed: Installed) -> str:
    (container,) = installed.pod["spec"]["containers"]
    return str(next(each["value"] for each in container["env"] if each["name"] == "RAYSVC_RAY_IMAGE"))


def _in_default(found: dict[str, Any]) -> dict[str, Any]:
    metadata = found["metadata"]
    return {**found, "metadata": {**metadata, "namespace": "default"}} if "namespace" in metadata else found
