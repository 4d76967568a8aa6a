"""Finds the cluster: a context of the kubeconfig, or the one whose pod we run in."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException

from raysvc.backends.kuberay.kube import KubeApi
from raysvc.errors import Invalid

_IN_POD = "KUBERNETES_SERVICE_HOST"
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_KUBECONFIG = Path("~/.kube/config")
# The client's own loaders are not typed.
_LOADERS: Any = config


@dataclass(frozen=True)
class Connection:
    """`inside`: we run in a pod of the cluster, so its pods can be reached directly."""

    kube: KubeApi
    namespace: str
    context: str
    inside: bool


async def connect(context: str | None, namespace: str | None) -> Connection:
    """Return a connection; nothing is asked yet. Raises Invalid where the kubeconfig or the context is not there."""
    settings: Any = Configuration()
    settings.retries = 0  # we repeat by ourselves, and say so
    if context is None and _IN_POD in os.environ and "KUBECONFIG" not in os.environ:
        own = _inside(settings)
        return Connection(KubeApi(settings), namespace or own, "in-cluster", inside=True)
    files = os.environ.get("KUBECONFIG") or str(_expanded(_KUBECONFIG))
    if not any(map(os.path.exists, files.split(os.pathsep))):
        raise Invalid(f"There is no kubeconfig: {files} does not exist. Set KUBECONFIG.", field="context")
    try:
        loader = await _LOADERS.load_kube_config(files, context, settings, persist_config=False)
        chosen = loader.current_context
    except (ConfigException, OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        named = f"context {context!r}" if context else "current context"
        raise Invalid(
            f"{files} has no {named} that can be used: {error}. `kubectl config get-contexts` lists those there are.",
            field="context",
        ) from error
    if "exec" in (loader._user or {}):  # noqa: SLF001 no public name for it
        settings.refresh_api_key_hook = _Renewal(loader)
    within = str(chosen["context"].get("namespace") or "default")
    return Connection(KubeApi(settings), namespace or within, str(chosen["name"]), inside=False)


def _inside(settings: Any) -> str:
    """Take the pod's service account; return the pod's namespace."""
    try:
        _LOADERS.load_incluster_config(settings)
        return _NAMESPACE.read_text().strip()
    except (ConfigException, OSError) as error:
        raise Invalid(f"The pod's service account cannot be used: {error}", field="kube") from error


def _expanded(path: Path) -> Path:
    return path.expanduser()


class _Renewal:
    """Asks the kubeconfig's login program again when what it gave has expired."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    async def __call__(self, settings: Any) -> None:
        await self._loader.load_from_exec_plugin()
        settings.api_key["BearerToken"] = self._loader.token
