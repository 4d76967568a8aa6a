"""How an object says whose it is. We select by these labels, and touch nothing that does not bear them."""

from raysvc.domain.cluster import SharedCluster
from raysvc.domain.job import Job, JobRef

MANAGED = "app.kubernetes.io/managed-by"
INSTANCE = "raysvc.dev/instance"
PROJECT = "raysvc.dev/project"
JOB = "raysvc.dev/job"
ATTEMPT = "raysvc.dev/attempt"
# The uid of a cluster that jobs share.
CLUSTER = "raysvc.dev/cluster"
# The name a user gave it may be anything: it is an annotation.
JOB_ID = "raysvc.dev/job-id"


def labels_of(job: Job, ref: JobRef, instance: str) -> dict[str, str]:
    """Return the labels of everything that belongs to an attempt: the RayJob, its cluster, its pods, its secret."""
    return {
        MANAGED: "raysvc",
        INSTANCE: instance,
        PROJECT: job.project,
        JOB: ref.uid,
        ATTEMPT: str(ref.attempt),
    }


def labels_of_cluster(cluster: SharedCluster, instance: str) -> dict[str, str]:
    """Return the labels of everything that belongs to a shared cluster: the RayCluster, its pods, its policy."""
    return {MANAGED: "raysvc", INSTANCE: instance, PROJECT: cluster.project, CLUSTER: cluster.uid}


def selector(instance: str) -> str:
    """Return what selects all that is ours."""
    return f"{INSTANCE}={instance}"


def is_ours(labels: dict[str, str], instance: str) -> bool:
    return labels.get(INSTANCE) == instance
