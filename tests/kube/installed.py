"""raysvc in a cluster, as it is installed: manifests/overlays/baremetal, and what is of the place."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import raysvc
from tests.cluster.debian import CHECKOUT
from tests.cluster.plan import RAY_IMAGE, SERVER_IMAGE
from tests.kube.kubectl import Kubectl
from tests.real.platform_process import eventually

MANIFESTS = CHECKOUT / "manifests"
SYSTEM, JOBS = "raysvc", "raysvc-jobs"
_READY_S = "120s"
_PORT = 8500


@dataclass(frozen=True)
class Installed:
    """A raysvc that runs in the cluster. `kubectl` is an administrator's."""

    kubectl: Kubectl

    @property
    def pod(self) -> Any:
        (found,) = self.kubectl.get("pods", "--namespace", SYSTEM, "--selector=app.kubernetes.io/name=raysvc")["items"]
        return found

    @property
    def url(self) -> str:
        """Where its pod answers: the machine has a way to pods."""
        return f"http://{self.pod['status']['podIP']}:{_PORT}"

    def within(self, *command: str) -> str:
        """Run a command in its container."""
        return self.kubectl("exec", "--namespace", SYSTEM, "deployment/raysvc", "--", *command)

    @property
    def token(self) -> str:
        return self.within("cat", "/data/raysvc/admin-token").strip()

    def client(self) -> raysvc.Client:
        return raysvc.Client(self.url, self.token)

    def kubeconfig(self, folder: Path, account: str = "raysvc", namespace: str = SYSTEM) -> Path:
        """Return a kubeconfig that has a service account's rights, for an hour."""
        config = yaml.safe_load(self.kubectl.kubeconfig.read_text())
        token = self.kubectl("create", "token", account, "--namespace", namespace).strip()
        config["users"] = [{"name": each["name"], "user": {"token": token}} for each in config["users"]]
        file = folder / f"{account}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(config))
        return file


def install(kubectl: Kubectl, folder: Path) -> Installed:
    """Send the manifests, and return once the server is ready. `folder` becomes its volume. May be repeated."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    node = kubectl.get("nodes", "--selector=raysvc.test/pool=system")["items"][0]["metadata"]["name"]
    kubectl("label", "node", node, "raysvc.dev/data=true", "--overwrite")
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(_of_this_place(data)))
    kubectl.apply(*yaml.safe_load_all(kubectl.kustomize(folder)))
    kubectl("rollout", "status", "deployment/raysvc", "--namespace", SYSTEM, "--timeout", _READY_S)
    return Installed(kubectl)


def remove(kubectl: Kubectl, folder: Path) -> None:
    """Take away all that was sent, and what runs there."""
    kubectl("delete", "--ignore-not-found", "--wait", "--filename=-", given=kubectl.kustomize(folder))
    eventually(lambda: not kubectl.get("namespaces", "--selector=app.kubernetes.io/part-of=raysvc")["items"], 120)


def _of_this_place(data: Path) -> dict[str, Any]:
    """Return what an operator adds to an overlay: images, the volume's folder; and rights for tests from outside."""
    name, _, tag = SERVER_IMAGE.rpartition(":")
    image = {"name": "RAYSVC_RAY_IMAGE", "value": RAY_IMAGE}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_way(data.parent, MANIFESTS / "overlays" / "baremetal")],
        "components": [_way(data.parent, MANIFESTS / "components" / "outside")],
        "images": [{"name": "raysvc-server", "newName": name, "newTag": tag}],
        "patches": [
            _patch("PersistentVolume", "raysvc-data", "replace", "/spec/local/path", str(data)),
            _patch("Deployment", "raysvc", "add", "/spec/template/spec/containers/0/env/-", image),
        ],
    }


def _patch(kind: str, name: str, verb: str, path: str, value: Any) -> dict[str, Any]:
    return {
        "target": {"kind": kind, "name": name},
        "patch": json.dumps([{"op": verb, "path": path, "value": value}]),
    }


def _way(start: Path, to: Path) -> str:
    """Return how to go from one folder to another: kustomize takes no absolute paths."""
    return str(Path(*[".."] * (len(start.resolve().parts) - 1), *to.resolve().parts[1:]))
