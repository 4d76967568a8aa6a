"""Ray on Kubernetes, through KubeRay: each attempt is a RayJob with a RayCluster of its own.

The only place that imports `kubernetes`, which takes half a second and 60 MB: it is loaded where `--kube` is given.
"""

from raysvc.backends.kuberay.backend import KubeBackend
from raysvc.backends.kuberay.config import CLUSTER, RAY_IMAGE, KubeConfig

__all__ = ["CLUSTER", "RAY_IMAGE", "KubeBackend", "KubeConfig"]
