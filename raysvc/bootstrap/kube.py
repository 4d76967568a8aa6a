"""Kubernetes' backend, loaded only where it is asked for: its client takes half a second and 60 MB."""

import importlib
from typing import Any

from raysvc.bootstrap.clock import SystemClock
from raysvc.errors import Invalid


def load_kuberay() -> Any:
    """Return the package; raises Invalid where Kubernetes' client is not installed."""
    try:
        return importlib.import_module("raysvc.backends.kuberay")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"kubernetes", "aiohttp"}:
            raise
        raise Invalid("--kube needs Kubernetes' client: pip install 'raysvc[kube]'.", field="kube") from error


async def look_at_kube(context: str | None, namespace: str | None) -> list[Any]:
    """Return what `raysvc doctor --kube` finds: lines with subject, state, detail and fix. Raises Invalid."""
    load_kuberay()
    checkup: Any = importlib.import_module("raysvc.backends.kuberay.checkup")
    config = checkup.sample_config(context, namespace)
    return [check async for check in checkup.checkup(config, SystemClock())]
