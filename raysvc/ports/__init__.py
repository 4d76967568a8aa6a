"""What the core needs of the world, cut at the height of the domain. Protocols only; optional abilities are their own.

Every implementation, the ones of `raysvc.testing` included, passes the contract suite of its port in
`tests/contract/`. All methods are async unless pure; all raise only `raysvc.errors`.
"""

from raysvc.ports.backend import (
    ArtifactFile,
    Artifacts,
    Backend,
    Clock,
    Clusters,
    Driver,
    Endpoint,
    Foreseeable,
    Ids,
    Materials,
    Reachable,
    Releasing,
    Watchful,
)
from raysvc.ports.policy import Policy, Sink
from raysvc.ports.pool import Pools, Quarantines, Surveyed
from raysvc.ports.store import (
    Addition,
    Blobs,
    Checked,
    Flags,
    Jobs,
    Lease,
    Leases,
    Packages,
    Projects,
    Secrets,
    Store,
    Tokens,
)

__all__ = [
    "Addition",
    "ArtifactFile",
    "Artifacts",
    "Backend",
    "Blobs",
    "Checked",
    "Clock",
    "Clusters",
    "Driver",
    "Endpoint",
    "Flags",
    "Foreseeable",
    "Ids",
    "Jobs",
    "Lease",
    "Leases",
    "Materials",
    "Packages",
    "Policy",
    "Pools",
    "Projects",
    "Quarantines",
    "Reachable",
    "Releasing",
    "Secrets",
    "Sink",
    "Store",
    "Surveyed",
    "Tokens",
    "Watchful",
]
