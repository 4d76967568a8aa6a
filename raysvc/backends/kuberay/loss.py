"""When an attempt's head is gone for good, though KubeRay goes on saying that its job runs. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from raysvc.backends.kuberay.status import Stage, View
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode

_HEAD = ("ray.io/node-type", "head")


def lost_head(view: View, pods: Iterable[Mapping[str, Any]]) -> Observation | None:
    """Return the end of an attempt whose head is younger than its job: the driver went with the pod it ran in.

    KubeRay makes the new pod, calls the job running until that has come up, and for ever where it cannot.
    """
    if view.stage is not Stage.GOING or view.began is None:
        return None
    heads = [pod["metadata"] for pod in pods if _is_live_head(pod)]
    if not heads or any(datetime.fromisoformat(head["creationTimestamp"]) <= view.began for head in heads):
        return None
    message = f"the pod of its head is gone, and its driver with it; KubeRay has made {heads[0]['name']} in its place"
    return Observation(seen=Seen.FAILED, cause=ReasonCode.CLUSTER_LOST, message=message, started_at=view.began)


def _is_live_head(pod: Mapping[str, Any]) -> bool:
    metadata = pod["metadata"]
    name, value = _HEAD
    return (metadata.get("labels") or {}).get(name) == value and not metadata.get("deletionTimestamp")
