"""KubeRay's operator: a pod with the rights that KubeRay itself gives it, and the resource definitions."""

import json
import shutil
from typing import Any

from tests.cluster.api import Api
from tests.cluster.command import run
from tests.cluster.plan import OPERATOR_IMAGE, POOL_LABEL, Plan
from tests.cluster.programs import Programs

NAMESPACE = "kuberay-operator"
_UPSTREAM_IMAGE = "quay.io/kuberay/operator"
PROGRAM_AT = "/manager"
IMAGE_CONFIG = {"User": "65532:65532"}


def kustomization() -> dict[str, Any]:
    """Return what we change of KubeRay's own manifests: namespace, image, and where and how fast it runs."""
    name, _, tag = OPERATOR_IMAGE.rpartition(":")
    deployment = {"group": "apps", "kind": "Deployment", "name": "kuberay-operator"}
    container = "/spec/template/spec/containers/0"
    patch = [
        {"op": "add", "path": "/spec/template/spec/nodeSelector", "value": {POOL_LABEL: "system"}},
        # Upstream's 100m make a start on a busy machine of two cores last for minutes.
        {"op": "replace", "path": f"{container}/resources/limits/cpu", "value": "1"},
        {"op": "replace", "path": f"{container}/readinessProbe/initialDelaySeconds", "value": 1},
        {"op": "replace", "path": f"{container}/readinessProbe/periodSeconds", "value": 1},
        {"op": "replace", "path": f"{container}/readinessProbe/failureThreshold", "value": 30},
    ]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": ["namespace.json", "config/default"],
        "images": [{"name": _UPSTREAM_IMAGE, "newName": name, "newTag": tag}],
        "patches": [{"target": deployment, "patch": json.dumps(patch)}],
    }


def ensure(plan: Plan, programs: Programs, api: Api) -> None:
    """Send definitions, rights and the operator, unless that was done. May be repeated."""
    folder = plan.home / "kuberay"
    done = folder / "applied"
    if done.exists() and _deployment(api) is not None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(programs["kuberay"] / "config", folder / "config")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    (folder / "namespace.json").write_text(json.dumps(namespace))
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization()))
    manifests = run(programs.kubectl, "kustomize", folder)
    # On the server's side: the definitions are too large for the annotation that the client's side keeps.
    options = ("--server-side", "--force-conflicts", "--filename=-")
    run(programs.kubectl, f"--kubeconfig={plan.kubeconfig}", "apply", *options, given=manifests)
    done.touch()


def ready(api: Api) -> bool:
    found = _deployment(api)
    return found is not None and found["status"].get("availableReplicas", 0) > 0


def _deployment(api: Api) -> Any:
    return api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/kuberay-operator")
