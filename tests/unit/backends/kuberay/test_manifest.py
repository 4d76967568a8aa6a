"""What is sent to Kubernetes. The golden files are reviewed like code; RAYSVC_GOLDEN=write writes them anew.

The API server of the test cluster has the last word on them: `tests/kube/test_schema.py`.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from raysvc.backends.kuberay.config import KubeConfig, ray_version
from raysvc.backends.kuberay.manifest import rendered
from raysvc.domain.job import Job
from raysvc.errors import Invalid
from tests.unit.backends.kuberay.scene import INSTANCE, job_of

GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, dict[str, Any]] = {
    "one_pod": {},
    "everything": {
        "runtime_env": {
            "working_dir": "gcs://_ray_pkg_0123456789abcdef.zip",
            "env_vars": {"LOGIN": "ada:${secret:TOKEN}", "COLOUR": "blue"},
        },
        "secrets": {"PASSWORD": "WORD"},
        "resources": {"cpus": 0.5, "gpus": 1, "memory": 1 << 30, "custom": {"licence": 1}},
        "label_selector": {"accelerator": "h100"},
        "timeout_s": 90.5,
        "metadata": {"team": "vision"},
        "shape": {
            "workers": [
                {"name": "gpu", "scale": {"min": 2, "want": 2, "max": 2}, "resources": {"cpus": 8, "gpus": 4}},
                {"name": "cpu", "scale": {"min": 1, "want": 1, "max": 1}, "resources": {"memory": 8 << 30}},
            ]
        },
    },
    "elastic": {"shape": {"workers": [{"name": "w", "scale": {"min": 0, "want": 0, "max": 4}}]}},
    "image": {"code": {"kind": "image", "image": "registry.example/team/train:2.55.1-gpu"}},
}


def made(**spec: Any) -> Job:
    return job_of("python train.py", **spec).model_copy(update={"uid": "01k0000000000001", "id": "raysubmit_1"})


def documents(**spec: Any) -> tuple[dict[str, Any], ...]:
    return rendered(made(**spec), KubeConfig(data_dir=Path("/nowhere")), INSTANCE).documents


def ray_job(**spec: Any) -> dict[str, Any]:
    return next(document for document in documents(**spec) if document.get("kind") == "RayJob")


class Plain(yaml.SafeDumper):
    """Writes everything out: anchors would hide what is the same."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 of nothing
        return True


@pytest.mark.parametrize("case", CASES)
def test_rendering(case: str) -> None:
    text = yaml.dump_all(documents(**CASES[case]), Dumper=Plain, sort_keys=False)
    file = GOLDEN / f"{case}.yaml"
    if os.environ.get("RAYSVC_GOLDEN") == "write":
        file.write_text(text)
    assert text == file.read_text()


def pods(spec: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = spec["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


@pytest.mark.parametrize("case", CASES)
def test_every_pod_meets_the_restricted_level_and_gets_what_it_asks_for(case: str) -> None:
    for pod in pods(ray_job(**CASES[case])):
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all("emptyDir" in volume for volume in pod["volumes"])


def test_only_an_autoscalers_pod_can_speak_to_kubernetes() -> None:
    assert [pod["automountServiceAccountToken"] for pod in pods(ray_job())] == [False]
    assert [pod["automountServiceAccountToken"] for pod in pods(ray_job(**CASES["elastic"]))] == [True, False]


def test_names_stay_below_the_operators_limits() -> None:
    job = made().model_copy(update={"attempt": 999_999})
    name = rendered(job, KubeConfig(data_dir=Path("/nowhere")), INSTANCE).documents[0]["metadata"]["name"]
    assert len(name) <= 47  # MaxRayJobNameLength of controllers/ray/utils/constant.go


@pytest.mark.parametrize("name", ["head", "Workers", "a" * 21, "-a", "1a", ""])
def test_a_worker_group_that_kuberay_would_not_take_is_refused_at_submit(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        documents(shape={"workers": [{"name": name}]})
    assert caught.value.field == "shape.workers.name"


def test_two_groups_of_one_name_are_refused() -> None:
    with pytest.raises(Invalid, match="same name"):
        documents(shape={"workers": [{"name": "a"}, {"name": "a"}]})


def test_warm_drivers_are_of_one_machine() -> None:
    with pytest.raises(Invalid) as caught:
        documents(driver="warm")
    assert caught.value.field == "driver"


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("rayproject/ray:2.55.1", "2.55.1"),
        ("registry:5000/ray:2.61.0-py312-gpu", "2.61.0"),
        ("ray:2.61.0@sha256:" + "0" * 64, "2.61.0"),
        ("registry:5000/team/train:latest", "2.60.0"),
        ("team/train", "2.60.0"),
    ],
)
def test_the_ray_version_is_the_images(image: str, version: str) -> None:
    assert ray_version(image) == version
    assert ray_job(code={"kind": "image", "image": image})["spec"]["rayClusterSpec"]["rayVersion"] == version
