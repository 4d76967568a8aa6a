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
    Vetting,
    Watchful,
)
from raysvc.ports.cluster import Hosting, SharedClusters
from raysvc.ports.key import Keys, Ledger, UsageBatch
from raysvc.ports.policy import Policy, Sink
from raysvc.ports.pool import Pools, Quarantines, Surveyed
from raysvc.ports.record import Records
from raysvc.ports.service import ServiceRecords, Sightings
from raysvc.ports.serving import Edge, ReplicaHome, Route, Services, Serving, Target
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
    "Edge",
    "Endpoint",
    "Flags",
    "Foreseeable",
    "Hosting",
    "Ids",
    "Jobs",
    "Keys",
    "Lease",
    "Leases",
    "Ledger",
    "Materials",
    "Packages",
    "Policy",
    "Pools",
    "Projects",
    "Quarantines",
    "Reachable",
    "Records",
    "Releasing",
    "ReplicaHome",
    "Route",
    "Secrets",
    "ServiceRecords",
    "Services",
    "Serving",
    "SharedClusters",
    "Sightings",
    "Sink",
    "Store",
    "Surveyed",
    "Target",
    "Tokens",
    "UsageBatch",
    "Vetting",
    "Watchful",
]
