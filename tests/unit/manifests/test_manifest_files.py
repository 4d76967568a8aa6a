"""What manifests/ grants, pins and confines. That a real API server takes them: `tests/kube/test_installed.py`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysvc.backends.kuberay.config import RAY_VERSION
from raysvc.backends.kuberay.right import RIGHTS
from raysvc.settings import Settings
from tests.cluster import containerfile

CHECKOUT = Path(__file__).parents[3]
MANIFESTS = CHECKOUT / "manifests"
FOLDERS = sorted(file.parent for file in MANIFESTS.rglob("kustomization.yaml"))
Json = dict[str, Any]


def test_the_rights_granted_are_those_that_doctor_asks_for() -> None:
    granted = set(_rules(MANIFESTS / "base" / "rights.yaml")) | set(
        _rules(MANIFESTS / "components/outside/rights.yaml")
    )
    asked = {(right.cluster_wide, right.group, right.resource, verb) for right in RIGHTS for verb in right.verbs}
    assert granted == asked


def test_no_right_is_a_wildcard_and_none_lets_the_server_make_pods() -> None:
    granted = {rule for file in MANIFESTS.rglob("rights.yaml") for rule in _rules(file)}
    assert not [rule for rule in granted if "*" in rule]
    assert {verb for _, _, resource, verb in granted if resource == "pods"} == {"list", "watch"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(MANIFESTS)))
def test_every_file_is_named_and_every_name_is_a_file(folder: Path) -> None:
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    named = {name for name in said.get("resources", []) if not name.startswith("https://")}
    assert all((folder / name).exists() for name in named)
    assert {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"} <= named


def test_the_server_is_confined() -> None:
    pod = _one("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    namespaces = [found for found in _base() if found["kind"] == "Namespace"]
    assert {found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for found in namespaces} == {"restricted"}


def test_the_server_is_given_settings_that_it_takes() -> None:
    (container,) = _one("Deployment")["spec"]["template"]["spec"]["containers"]
    options = [option.removeprefix("--").partition("=") for option in container["args"][1:]]
    given: Json = {name.replace("-", "_"): value or True for name, _, value in options if name != "allowed-host"}
    settings = Settings.model_validate(
        {**given, "port": int(given["port"]), "dashboard_port": int(given["dashboard_port"])}
    )
    assert (settings.kube, settings.insecure) == (True, True)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"api": settings.port, "dashboard": settings.dashboard_port}


def test_the_image_runs_as_the_user_of_the_deployment_and_keeps_its_data_on_the_volume() -> None:
    config = containerfile.config_of((MANIFESTS / "Containerfile").read_text())
    pod = _one("Deployment")["spec"]["template"]["spec"]
    context = pod["securityContext"]
    assert config["User"] == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert config["Entrypoint"] == ["raysvc"]
    assert "RAYSVC_DATA_DIR=/data/raysvc" in config["Env"]
    assert f"--data-dir={'/data/raysvc'}" in pod["containers"][0]["args"]


def test_kuberay_is_the_version_that_the_tests_run() -> None:
    said = (MANIFESTS / "kuberay" / "kustomization.yaml").read_text()
    module = (CHECKOUT / "tests/cluster/programs/kuberay/go.mod").read_text()
    (tested,) = set(re.findall(r"kuberay/ray-operator (v[0-9.]+)", module))
    assert set(re.findall(r"ref=(\S+)|newTag: (\S+)", said)) == {(tested, ""), ("", tested)}


def test_the_ray_image_is_of_the_ray_that_is_locked() -> None:
    said = (MANIFESTS / "Containerfile.ray").read_text()
    assert set(re.findall(r"ray:(\d+\.\d+\.\d+)", said)) == {RAY_VERSION}
    lock = (CHECKOUT / "uv.lock").read_text()
    assert f'name = "ray"\nversion = "{RAY_VERSION}"' in lock


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.ray"])
def test_what_a_containerfile_copies_is_in_the_checkout(name: str) -> None:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", (MANIFESTS / name).read_text(), re.MULTILINE)
    assert lines
    assert all((CHECKOUT / part).exists() for line in lines for part in line.split())


def _base() -> list[Json]:
    files = sorted(set((MANIFESTS / "base").glob("*.yaml")) - {MANIFESTS / "base" / "kustomization.yaml"})
    return [found for file in files for found in yaml.safe_load_all(file.read_text())]


def _one(kind: str) -> Json:
    (found,) = (each for each in _base() if each["kind"] == kind)
    return found


def _rules(file: Path) -> Iterator[tuple[bool, str, str, str]]:
    for found in yaml.safe_load_all(file.read_text()):
        for rule in found.get("rules") or ():
            wide = found["kind"] == "ClusterRole"
            for group in rule["apiGroups"]:
                yield from ((wide, group, name, verb) for name in rule["resources"] for verb in rule["verbs"])
