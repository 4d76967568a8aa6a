"""A service as applications of Ray Serve, and Serve's words in ours. Pure."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode
from raysvc.domain.service import ReplicaScale, Service, ServiceSpec

DEPLOYMENT = "replica"
# Serve counts its replicas by a policy of ours (serving/replica.py), since it sees no request itself.
_POLICY = "replica:by_requests"
# Requests in flight a replica, where the plan says nothing: what one engine batches well on one GPU.
_TARGET = 32.0
# An answer in hand when its replica goes has so long to end.
DRAIN_S = 30.0
_END_S = 30.0


def prefix(instance: str) -> str:
    """Return how the names of all our applications begin: another server's on the same Ray begin otherwise."""
    return f"raysvc-{instance}-"


def name_of(instance: str, uid: str, revision: int) -> str:
    """Return the name of a revision's application."""
    return f"{prefix(instance)}{uid}-{revision}"


def uid_of(instance: str, name: str) -> str | None:
    """Return whose application that is; None where it is not ours."""
    uid, _, revision = name.removeprefix(prefix(instance)).rpartition("-")
    return uid if uid and name.startswith(prefix(instance)) and revision.isdecimal() else None


def applications(record: Service, instance: str, program: Path, folder: Path) -> list[dict[str, Any]]:
    """Return what the record's deployed revisions are in Serve's declarative words, the wanted one first.

    `program` is the folder with `serving/` on each node, `folder` the service's own.
    """
    return [
        {
            "name": name_of(instance, record.uid, number),
            "route_prefix": None,  # Serve's own proxies carry nothing
            "import_path": "replica:app",
            "runtime_env": {"working_dir": f"local://{program}"},
            "args": _arguments(record, number, spec, folder),
            "deployments": [_deployment(spec)],
        }
        for number, spec in record.deployed
    ]


def _arguments(record: Service, number: int, spec: ServiceSpec, folder: Path) -> dict[str, Any]:
    """Return what `serving/replica.py` is told. Whatever changes here starts the engines anew."""
    return {
        "service": record.uid,
        "revision": number,
        "model": spec.model.removeprefix("file://"),
        "names": list(record.models),
        "engine": spec.engine.model_dump(exclude_none=True),
        "host": "127.0.0.1",
        "gpus": spec.resources.gpus,
        "memory": spec.resources.memory,
        "link": str(folder / "link.json"),
        "folder": str(folder / "work"),
        "start_timeout_s": spec.start_timeout_s,
        "drain_s": DRAIN_S,
    }


def _deployment(spec: ServiceSpec) -> dict[str, Any]:
    """Return what may change without starting an engine anew, and what is always set.

    Serve's own defaults would switch scaling off, or kill a replica with its answers in hand.
    """
    each = spec.resources
    actor: dict[str, Any] = {"num_cpus": each.cpus, "num_gpus": each.gpus, "resources": each.custom}
    if each.memory:
        actor["memory"] = each.memory
    return {
        "name": DEPLOYMENT,
        **_scale(spec.replicas),
        "max_ongoing_requests": 100,
        "ray_actor_options": actor,
        "health_check_period_s": 5,
        "health_check_timeout_s": 15,
        "graceful_shutdown_timeout_s": DRAIN_S + _END_S,
    }


def _scale(replicas: ReplicaScale) -> dict[str, Any]:
    # Nothing wakes a service that has no replica, yet: one stays.
    least = max(1, replicas.min)
    if least == replicas.max:
        return {"num_replicas": least}
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "max_replicas": replicas.max,
            "initial_replicas": least,
            "target_ongoing_requests": replicas.target_ongoing_requests or _TARGET,
            "upscale_delay_s": 10.0,
            "downscale_delay_s": 300.0,
            "policy": {"policy_function": _POLICY},
        }
    }


# ray.serve.schema.ApplicationStatus. UNHEALTHY: it was up and replicas fail; Serve goes on replacing them.
_SEEN = {
    "NOT_STARTED": Seen.PENDING,
    "DEPLOYING": Seen.PENDING,
    "RUNNING": Seen.RUNNING,
    "UNHEALTHY": Seen.PENDING,
    "DEPLOY_FAILED": Seen.FAILED,
    "DELETING": Seen.PENDING,
}
# What an engine's last words mean; the first that is found, else ENGINE_FAILED.
_CAUSES = (
    (
        re.compile(r"out of memory|OutOfMemory|No available memory|KV cache.{0,40}(needed|larger)", re.IGNORECASE),
        ReasonCode.OUT_OF_MEMORY,
    ),
    (
        re.compile(r"cannot be read by user|no model in|is not a valid model|No such file or directory: '/"),
        ReasonCode.MODEL_NOT_FOUND,
    ),
)


def observation(application: Mapping[str, Any]) -> Observation:
    """Return what Serve's details of an application say; a status that is not in the table is UNKNOWN."""
    status = str(application.get("status"))
    seen = _SEEN.get(status, Seen.UNKNOWN)
    message = "\n".join(_messages(application)) or (f"Serve says {status}." if seen is Seen.UNKNOWN else "")
    if seen is not Seen.FAILED:
        return Observation(seen=seen, message=message[-2000:])
    cause = next((code for pattern, code in _CAUSES if pattern.search(message)), ReasonCode.ENGINE_FAILED)
    return Observation(seen=seen, message=message[-2000:], cause=cause)


def _messages(application: Mapping[str, Any]) -> Sequence[str]:
    deployments = (application.get("deployments") or {}).values()
    said = [application.get("message"), *(each.get("message") for each in deployments)]
    return [text for text in dict.fromkeys(said) if text]
