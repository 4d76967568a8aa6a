"""Node pools: nodes that are alike, declared once, so that jobs can ask for what they need and not for machines."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import ceil
from operator import not_
from typing import Literal

from pydantic import Field, model_validator

from raysvc.domain.accelerator import PRODUCTS, Product, name_of, parse_product
from raysvc.domain.model import Instant, Model, Name
from raysvc.domain.node import PRODUCT_LABEL, Amounts, LabelKey, LabelValue, NodeView, OsProfile, Taint, Toleration
from raysvc.domain.resources import Resources
from raysvc.errors import Invalid

CLIQUE_LABEL = "nvidia.com/gpu.clique"
_PAGES = {"2Mi": 2 << 20, "1Gi": 1 << 30}


class Accelerator(Model):
    """The accelerators of each node. One that is cut up or shared is asked for with that in its name (see `full`)."""

    name: LabelValue = Field(min_length=1, description="as specs ask for it: H100, A100-80GB")
    products: tuple[LabelValue, ...] = Field(
        default=(), max_length=32, description=f"values of {PRODUCT_LABEL}, without suffix; empty: the catalogue's"
    )
    count: int = Field(ge=1, le=1024, description="of a node; with `mig`, of its instances")
    memory_mib: int | None = Field(default=None, ge=1, description="usable memory of each")
    mig: str | None = Field(default=None, pattern=r"^[1-9]g\.[1-9][0-9]{0,2}gb([.+]me)?$", description="its profile")
    replicas: int = Field(default=1, ge=1, le=128, description="jobs that share one by time; 1: none do")
    resource: LabelKey = Field(default="nvidia.com/gpu", description="Kubernetes' name of it")

    @model_validator(mode="after")
    def _check_products(self) -> "Accelerator":
        if not self.products and self.name not in PRODUCTS:
            raise ValueError(
                f"{self.name} is not in the catalogue, so its `products` must be named: the values of {PRODUCT_LABEL}. "
                f"The catalogue has {', '.join(PRODUCTS)}"
            )
        cut = next((product for product in self.products if parse_product(product) != Product(product)), None)
        if cut:
            raise ValueError(
                f"products: {cut} has a suffix; write the whole product, and `mig` or `replicas` beside it"
            )
        return self

    @property
    def whole(self) -> bool:
        return self.mig is None and self.replicas == 1

    @property
    def full(self) -> str:
        """The name with what is done to it: H100, H100-MIG-1g.10gb, T4-SHARED."""
        mig = f"-MIG-{self.mig}" if self.mig else ""
        return f"{self.name}{mig}{'-SHARED' if self.replicas > 1 else ''}"

    @property
    def offered(self) -> int:
        """How many of `resource` a node has."""
        return self.count * self.replicas

    @property
    def labels(self) -> tuple[str, ...]:
        """The values of the product's label that nodes of the pool may have, for an affinity with the operator In."""
        values = self.products or PRODUCTS[self.name]
        if self.mig:  # the label has the suffix or not, by the plugin's strategy
            values += tuple(f"{value}-MIG-{self.mig}" for value in values)
        if self.replicas > 1:
            values += tuple(f"{value}-SHARED" for value in values)
        return values

    def meets(self, asked: str | None) -> bool:
        """Whether it is what was asked for: A100 is met by A100-80GB. None asks for any whole one."""
        if asked is None:
            return self.whole
        whole, mig, shared = parse_product(asked)
        if (mig, shared) != (self.mig and self.mig.lower(), self.replicas > 1):
            return False
        mine, wanted = self.name.upper(), (name_of(whole) or whole).upper()
        return mine == wanted or mine.startswith(f"{wanted}-") or whole in self.products


class NodeCount(Model):
    """How many nodes: `max`, and `min` beside it, of a pool that grows; `fixed` of one that does not (bare metal)."""

    min: int = Field(default=0, ge=0, le=100_000)
    max: int | None = Field(default=None, ge=1, le=100_000)
    fixed: int | None = Field(default=None, ge=1, le=100_000)

    @model_validator(mode="after")
    def _check(self) -> "NodeCount":
        if (self.max is None) == (self.fixed is None):
            raise ValueError(
                "a pool that grows has `max` nodes, one that does not has `fixed` nodes: write one of them"
            )
        if self.fixed is not None and self.min:
            raise ValueError("`min` is for a pool that grows; one with `fixed` nodes always has them")
        if self.max is not None and self.min > self.max:
            raise ValueError(f"min <= max does not hold for {self.min}, {self.max}")
        return self

    @property
    def most(self) -> int:
        return self.fixed or self.max or 0


class Extended(Model):
    """A resource of devices, such as rdma/ib: how many a node has."""

    resource: LabelKey
    count: int = Field(default=1, ge=1, le=100_000)


class TopologyLabels(Model):
    """The labels whose values tell which nodes lie together."""

    nvlink_domain: LabelKey = CLIQUE_LABEL
    rack: LabelKey | None = None


class PoolSpec(Model):
    """What a platform engineer says of a pool, and its nodes alone cannot: they may not even be there yet."""

    selector: dict[LabelKey, LabelValue] = Field(
        min_length=1, max_length=32, description="labels that all of its nodes have, and no others"
    )
    node_class: Literal["user", "system"] = Field(
        default="user", description="user: for workers; system: for Ray heads and the platform"
    )
    nodes: NodeCount
    node: Resources = Field(
        default=Resources(), description="cpus and memory that a node has free for pods; needed where the pool grows"
    )
    accelerator: Accelerator | None = None
    taints: tuple[Taint, ...] = Field(default=(), max_length=32, description="of its nodes; workers tolerate them")
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32, description="that workers have besides")
    spot: bool = Field(default=False, description="its nodes may be taken away at any time")
    price_per_hour: float | None = Field(
        default=None, ge=0, le=1e6, description="of a node, in USD; none: paid for already, so that it comes first"
    )
    topology: TopologyLabels = TopologyLabels()
    rdma: Extended | None = None
    compute_domain: bool = Field(
        default=False,
        exclude_if=not_,
        description="NVIDIA's DRA driver runs there: gangs over nodes of an NVLink domain claim a ComputeDomain",
    )
    hugepages: dict[Literal["2Mi", "1Gi"], int] = Field(default_factory=dict, description="size -> bytes of a node")
    numa: Literal["none", "best-effort", "restricted", "single-numa-node"] = Field(
        default="none", description="the kubelet's topology policy; the last two need whole CPUs as requests and limits"
    )
    os: OsProfile = OsProfile()
    projects: tuple[Name, ...] = Field(default=(), max_length=1000, description="that may use it; empty: every project")

    @model_validator(mode="after")
    def _check(self) -> "PoolSpec":
        if self.node_class == "system" and self.accelerator:
            raise ValueError(
                "a system pool has no accelerator: Ray heads and the platform run there, and workloads never do. "
                "Make it `node_class: user`, or leave `accelerator` out"
            )
        if self.node_class == "system" and self.projects:
            raise ValueError("a system pool is for the heads of every project: leave `projects` out")
        if self.nodes.max is not None and not (self.node.cpus and self.node.memory):
            raise ValueError("a pool that grows says what a new node has: `node: {cpus: …, memory: …}` (bytes)")
        if self.node.gpus or self.node.custom:
            raise ValueError("`node` has cpus and memory alone; GPUs stand in `accelerator`, RDMA devices in `rdma`")
        return self

    def serves(self, project: str) -> bool:
        return not self.projects or project in self.projects

    def holds(self, labels: dict[str, str]) -> bool:
        """Whether a node with these labels is of the pool."""
        return all(labels.get(key) == value for key, value in self.selector.items())

    def tolerates(self, taint: Taint) -> bool:
        return taint in self.taints or any(toleration.covers(taint) for toleration in self.tolerations)

    def amounts(self) -> Amounts:
        """Return what a node of the pool has, as declared."""
        pages = {f"hugepages-{size}": float(amount) for size, amount in self.hugepages.items()}
        return {"cpu": self.node.cpus, "memory": float(self.node.memory), **dict(self.devices()), **pages}

    def devices(self) -> list[tuple[str, int]]:
        """Return the devices that each node has: name of the resource and how many."""
        found = [(self.accelerator.resource, self.accelerator.offered)] if self.accelerator else []
        return [*found, (self.rdma.resource, self.rdma.count)] if self.rdma else found

    def needs(self, each: Resources) -> Amounts:
        """Return what a worker's pod asks of a node. Ray's custom resources are Ray's own, and no node's."""
        # The scarcest first, since where it is missing the others are not looked at.
        found = {self.accelerator.resource: float(ceil(each.gpus))} if self.accelerator else {}
        found |= {"cpu": float(ceil(each.cpus)) if self.pinned else each.cpus, "memory": float(each.memory)}
        found |= self._beside(ceil(each.gpus))
        return {name: amount for name, amount in found.items() if amount}

    @property
    def pinned(self) -> bool:
        """Whether the kubelet gives whole CPUs beside their devices, which only pods with whole numbers of them get."""
        return self.numa in {"restricted", "single-numa-node"}

    def _beside(self, gpus: int) -> Amounts:
        """Return what comes with so many GPUs of a node: their share of its RDMA devices and huge pages."""
        if self.accelerator is None or not gpus:
            return {}
        share = min(1.0, gpus / self.accelerator.offered)
        found = {self.rdma.resource: max(1.0, self.rdma.count * share // 1)} if self.rdma else {}
        for size, amount in self.hugepages.items():
            page = _PAGES[size]
            found[f"hugepages-{size}"] = amount * share // page * page
        return found


class Pool(Model):
    """A declared pool."""

    name: Name
    spec: PoolSpec
    created_at: Instant
    updated_at: Instant


def check_pools(pools: Sequence[Pool], nodes: Sequence[NodeView] = ()) -> None:
    """Return where each node can be of one pool only; raises Invalid, naming two pools that overlap."""
    for one, other in combinations(sorted(pools, key=lambda pool: pool.name), 2):
        shared = next(
            (node.name for node in nodes if one.spec.holds(node.labels) and other.spec.holds(node.labels)), ""
        )
        if shared or _within(one.spec, other.spec) or _within(other.spec, one.spec):
            example = f", such as {shared}" if shared else ""
            raise Invalid(
                f"The selectors of pools {one.name!r} and {other.name!r} overlap: a node could be of both{example}. "
                "Add a label to the wider one that the other's nodes have with another value.",
                field="selector",
            )


def _within(one: PoolSpec, other: PoolSpec) -> bool:
    """Whether every node of one would also be of the other."""
    return other.selector.items() <= one.selector.items()


def pool_of(labels: dict[str, str], pools: Sequence[Pool]) -> Pool | None:
    """Return the pool of a node with these labels; the most specific, should two overlap after all."""
    found: Iterator[Pool] = (pool for pool in pools if pool.spec.holds(labels))
    return max(found, key=lambda pool: len(pool.spec.selector), default=None)


class Proposal(Model):
    """A pool as nodes suggest it, to be looked through and applied."""

    name: Name
    spec: PoolSpec
    nodes: int = Field(description="how many of them are there")
    notes: tuple[str, ...] = Field(default=(), description="what nodes cannot tell, or tell differently")


class Discovery(Model):
    """What the nodes of a cluster suggest. `left` says of which nodes nothing is proposed, and why."""

    pools: tuple[Proposal, ...]
    left: tuple[str, ...] = ()
