"""What raysvc must be allowed to do on a cluster. manifests/base/rights.yaml grants this and no more."""

from typing import Any, NamedTuple

from raysvc.backends.kuberay.connect import Connection

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Right(NamedTuple):
    """`wanted` only: it goes without, and tells less. `outside` only: for who does not run in the cluster."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    wanted: bool = False
    cluster_wide: bool = False
    outside: bool = False

    @property
    def rule(self) -> str:
        """The right as a rule of a Role."""
        return f"apiGroups [{self.group!r}], resources [{self.resource!r}], verbs {list(self.verbs)}"


RIGHTS = (
    Right("ray.io", "rayjobs", ("get", "list", "watch", "create", "patch", "delete")),
    Right("ray.io", "rayclusters", ("get", "list", "watch", "create", "patch", "delete")),
    Right("", "pods", ("list", "watch")),
    Right("", "secrets", ("get", "list", "create", "update", "patch", "delete")),
    Right("networking.k8s.io", "networkpolicies", ("get", "list", "create", "update", "patch", "delete")),
    # The way to Ray's dashboards through the API server; a pod of the cluster goes there by itself.
    Right("", "services/proxy", ("get", "create", "update", "delete"), outside=True),
    Right("", "events", ("list",), wanted=True),
    # Only for gangs in an NVLink domain that NVIDIA's DRA driver shares (`compute_domain` of a pool).
    Right("resource.nvidia.com", "computedomains", ("create", "patch"), wanted=True),
    Right("", "nodes", ("list",), wanted=True, cluster_wide=True),
    # What is free on a node is what the pods of all namespaces leave.
    Right("", "pods", ("list",), wanted=True, cluster_wide=True),
)


async def missing(connection: Connection, right: Right) -> Right | None:
    """Return what we may not do of it, None where all is granted. Raises as `KubeApi` does."""
    verbs = tuple([verb for verb in right.verbs if not await _may(connection, right, verb)])
    return right._replace(verbs=verbs) if verbs else None


async def _may(connection: Connection, right: Right, verb: str) -> bool:
    resource, _, part = right.resource.partition("/")
    asked: dict[str, Any] = {"group": right.group, "resource": resource, "subresource": part, "verb": verb}
    if not right.cluster_wide:
        asked["namespace"] = connection.namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = await connection.kube.create(_REVIEWS, review)
    return bool((answer.get("status") or {}).get("allowed"))
