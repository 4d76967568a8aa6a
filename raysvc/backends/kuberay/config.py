"""What an operator can say about Ray on Kubernetes, and what is chosen where nothing is said."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from raysvc.domain.resources import Resources

CLUSTER = "kube"
RAY_VERSION = "2.60.0"
RAY_IMAGE = f"docker.io/rayproject/ray:{RAY_VERSION}"
_TAG = re.compile(r":(?P<version>\d+\.\d+\.\d+)(?:[.-][\w.-]+)?(?:@sha256:[0-9a-f]{64})?$")


@dataclass(frozen=True, kw_only=True)
class KubeConfig:
    """Times are seconds. `context` None: that of the pod we run in, else the kubeconfig's current one.

    `head` is what each cluster's head needs before any driver: Ray's own processes take about 1.3 GiB there.
    """

    data_dir: Path
    project: str = "default"
    context: str | None = None
    namespace: str | None = None
    ray_image: str = RAY_IMAGE
    max_running_jobs: int | None = None
    head: Resources = field(default_factory=lambda: Resources(cpus=1, memory=2 << 30))
    # Until a cluster is there and its job begins. Below our own 960 s (START_TIMEOUT), so that the operator, which
    # knows more, speaks first.
    start_timeout_s: int = 900
    # How long the operator leaves an ended job's cluster. We take it away as soon as its log is archived; this is for
    # when we are down.
    linger_s: int = 600
    # How long a worker that Ray's autoscaler made does nothing before it goes.
    idle_timeout_s: int = 60
    # Between SIGTERM and SIGKILL for a job that is stopped (Ray's RAY_JOB_STOP_WAIT_TIME_S), and for its pods.
    stop_grace_s: int = 5
    pod_grace_s: int = 30


def ray_version(image: str) -> str:
    """Return the Ray version that an image's tag names; where it names none, ours.

    KubeRay chooses probes, authentication and autoscaler by it, and it must be the image's own.
    """
    match = _TAG.search(image)
    return match["version"] if match else RAY_VERSION
