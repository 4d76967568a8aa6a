"""What the nodes of a cluster say of themselves, and the pools that they suggest. Pure: Node objects in, words out."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raysvc.backends.kuberay.clusters import quantity
from raysvc.domain.accelerator import name_of, parse_product
from raysvc.domain.node import Amounts, NodeView, OsFacts, OsProfile, Taint
from raysvc.domain.pool import CLIQUE_LABEL, Accelerator, Discovery, PoolSpec, Proposal
from raysvc.domain.resources import Resources

Json = Mapping[str, Any]

# The label that tells a cloud's or Karpenter's pools apart. A pool of Karpenter's may have several kinds of nodes.
_POOL_LABELS = (
    "karpenter.sh/nodepool",
    "kubernetes.azure.com/agentpool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "agentpool",
)
_OWN_POOL_LABEL = re.compile(r"(.*/)?(node-?)?pool")
_INSTANCE = "node.kubernetes.io/instance-type"
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
# Spot nodes: label -> the values that say so; any of those labels also tells the two kinds of one pool apart.
_SPOT: Mapping[str, tuple[str, ...]] = {
    "karpenter.sh/capacity-type": ("spot",),
    "kubernetes.azure.com/scalesetpriority": ("spot",),
    "eks.amazonaws.com/capacityType": ("SPOT",),
    "cloud.google.com/gke-spot": ("true",),
    "cloud.google.com/gke-preemptible": ("true",),
}
# Where NVIDIA's discovery does not run, clouds still name the GPU.
_PRODUCTS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "karpenter.azure.com/sku-gpu-name",
)
_RACKS = ("cloud.google.com/gce-topology-subblock", "topology.k8s.aws/network-node-layer-3")
_OWN_RACK = re.compile(r".*/rack")
_RDMA = re.compile(r"rdma/.+|vpc\.amazonaws\.com/efa")
_GPU = re.compile(r"nvidia\.com/(gpu(\.shared)?|mig-.+)|amd\.com/gpu")
_DRIVERS = (
    ("nvidia.com/cuda.driver-version.full",),
    (
        "nvidia.com/cuda.driver-version.major",
        "nvidia.com/cuda.driver-version.minor",
        "nvidia.com/cuda.driver-version.revision",
    ),
    ("nvidia.com/cuda.driver.major", "nvidia.com/cuda.driver.minor", "nvidia.com/cuda.driver.rev"),
)
_TEMPORARY = "node.kubernetes.io/"
_EFFECTS = frozenset({"NoSchedule", "PreferNoSchedule", "NoExecute"})


def node_view(node: Json, used: Amounts | None = None, tenants: Mapping[str, Amounts] | None = None) -> NodeView:
    """Return a Node object as placement sees it. `used`: what pods on it ask for; `tenants`: our attempts' of that."""
    labels, spec, status = _labels(node), node.get("spec") or {}, node.get("status") or {}
    conditions = {str(it.get("type")): str(it.get("status")) for it in status.get("conditions") or ()}
    taints = [
        Taint.model_construct(key=it["key"], value=it.get("value") or "", effect=it["effect"])
        for it in spec.get("taints") or ()
        if it.get("effect") in _EFFECTS
    ]
    info = status.get("nodeInfo") or {}
    return NodeView(
        name=_name(node),
        labels=labels,
        taints=tuple(taints),
        allocatable={name: float(quantity(amount)) for name, amount in (status.get("allocatable") or {}).items()},
        used=used or {},
        tenants=dict(tenants or {}),
        conditions=conditions,
        ready=conditions.get("Ready") == "True",
        cordoned=bool(spec.get("unschedulable")),
        os=OsFacts(
            kernel=info.get("kernelVersion") or None,
            os_image=info.get("osImage") or None,
            container_runtime=info.get("containerRuntimeVersion") or None,
            kubelet=info.get("kubeletVersion") or None,
            driver=_driver(labels),
        ),
    )


def discover(nodes: Sequence[Json]) -> Discovery:
    """Return a pool for each kind of nodes, by name, and which nodes are left out. Their order is nothing."""
    left: list[str] = []
    alike: defaultdict[tuple[tuple[str, str], ...], list[NodeView]] = defaultdict(list)
    for view in sorted(map(node_view, nodes), key=lambda view: view.name):
        if any(label in view.labels for label in _CONTROL_PLANE):
            left.append(f"{view.name}: belongs to the control plane")
            continue
        selector = _selector(view)
        if selector:
            alike[selector].append(view)
        else:
            left.append(f"{view.name}: no label tells its pool; give it one, such as raysvc.dev/pool=NAME")
    found: list[Proposal] = []
    for selector, views in sorted(alike.items()):
        gpus, why = _accelerator(views)
        if why:
            left.append(f"{', '.join(view.name for view in views)}: {why}")
        else:
            taken = {proposal.name for proposal in found}
            found.append(_proposal(_pool_name(selector, gpus, taken), dict(selector), views, gpus))
    return Discovery(pools=tuple(_with_system(found)), left=tuple(left))


def _selector(view: NodeView) -> tuple[tuple[str, str], ...]:
    """Return the labels that nodes of the same kind share and others do not."""
    labels = view.labels
    own = sorted(label for label in labels if _OWN_POOL_LABEL.fullmatch(label))
    pool = next((label for label in (*_POOL_LABELS, *own) if labels.get(label)), None)
    kinds = [label for label in ("nvidia.com/gpu.product", _INSTANCE) if labels.get(label)]
    if pool is None:
        chosen = kinds[:1]
    else:
        mixed = pool.startswith("karpenter.sh/")
        chosen = [pool, *(kinds[:1] if mixed else ()), *(label for label in _SPOT if mixed and label in labels)]
    return tuple((label, labels[label]) for label in chosen)


def _proposal(name: str, selector: dict[str, str], views: Sequence[NodeView], gpus: Accelerator | None) -> Proposal:
    notes: list[str] = []
    first = views[0]
    taints = [taint for taint in first.taints if not taint.key.startswith(_TEMPORARY)]
    shared = [taint for taint in taints if all(taint in view.taints for view in views)]
    if len(shared) < len(taints) or any(len(_own(view)) > len(shared) for view in views):
        notes.append("its nodes have different taints; those that only some have are left out")
    cloud = any(label in selector for label in _POOL_LABELS)
    if cloud:
        notes.append(f"nodes.max is what is there now, {len(views)}: set it to what the pool may grow to")
    rdma = _devices(views, _RDMA)
    spec = PoolSpec(
        selector=selector,
        node_class="system" if gpus is None and _is_system(first) else "user",
        nodes={"max": len(views)} if cloud else {"fixed": len(views)},
        node=Resources(
            cpus=min(view.allocatable.get("cpu", 0) for view in views),
            memory=int(min(view.allocatable.get("memory", 0) for view in views)),
        ),
        accelerator=gpus,
        taints=tuple(shared),
        spot=any(first.labels.get(label) in values for label, values in _SPOT.items()),
        topology={"nvlink_domain": CLIQUE_LABEL, "rack": _rack(views)},
        rdma={"resource": rdma[0], "count": rdma[1]} if rdma else None,
        hugepages=_hugepages(views),
        os=_profile(views, notes),
    )
    return Proposal(name=name, spec=spec, nodes=len(views), notes=tuple(notes))


def _accelerator(views: Sequence[NodeView]) -> tuple[Accelerator | None, str]:
    """Return the accelerator of these nodes, if they have any, or why it cannot be told."""
    found = _devices(views, _GPU)
    if found is None:
        return None, ""
    resource, count = found
    labels = views[0].labels
    product = next((labels[label] for label in _PRODUCTS if labels.get(label)), None)
    if product is None:
        return None, f"has {resource}, and no label says which: run NVIDIA's GPU feature discovery there"
    whole, mig, _ = parse_product(product)
    if resource.startswith("nvidia.com/mig-"):
        mig = resource.removeprefix("nvidia.com/mig-")
    replicas = max(1, int(quantity(labels.get("nvidia.com/gpu.replicas"))))
    name = name_of(whole)
    memory = int(quantity(labels.get("nvidia.com/gpu.memory")))
    return Accelerator(
        name=name or whole.removeprefix("NVIDIA-"),
        products=() if name else (whole,),
        count=max(1, count // replicas),
        memory_mib=memory or None,
        mig=mig,
        replicas=replicas,
        resource=resource,
    ), ""


def _devices(views: Sequence[NodeView], pattern: re.Pattern[str]) -> tuple[str, int] | None:
    """Return the resource of that kind that most is of, and how many a whole node has."""
    most: Counter[str] = Counter()
    for view in views:
        for name, amount in view.allocatable.items():
            if amount >= 1 and pattern.fullmatch(name):
                most[name] = max(most[name], int(amount))
    return max(most.items(), key=lambda each: (each[1], each[0]), default=None)


def _with_system(found: Sequence[Proposal]) -> Iterable[Proposal]:
    """Yield the proposals, one of them for heads: where no pool says that it is for them, the first without GPUs."""
    none_yet = all(proposal.spec.node_class != "system" for proposal in found)
    for proposal in found:
        if none_yet and proposal.spec.accelerator is None and not proposal.spec.spot:
            none_yet = False
            note = (
                "no pool is marked as a system pool, and heads need one: proposed as such, so that workers never use it"
            )
            system = proposal.spec.model_copy(update={"node_class": "system"})
            yield proposal.model_copy(update={"spec": system, "notes": (*proposal.notes, note)})
        else:
            yield proposal


def _is_system(view: NodeView) -> bool:
    """Whether the pool is one for the cluster's own services: as AKS says it, or by a taint that clouds use."""
    return view.labels.get("kubernetes.azure.com/mode") == "system" or any(
        taint.key == "CriticalAddonsOnly" for taint in view.taints
    )


def _profile(views: Sequence[NodeView], notes: list[str]) -> OsProfile:
    """Return the versions that all nodes share; say where they differ."""
    wanted = {}
    for name in OsFacts.model_fields:
        versions = Counter(getattr(view.os, name) for view in views)
        if len(versions) == 1:
            wanted[name] = next(iter(versions))
        else:
            said = ", ".join(
                f"{number} × {version or 'not reported'}" for version, number in sorted(versions.most_common(), key=str)
            )
            notes.append(f"os.{name} differs: {said}")
    return OsProfile(**wanted)


def _rack(views: Sequence[NodeView]) -> str | None:
    own = sorted(label for label in views[0].labels if _OWN_RACK.fullmatch(label))
    return next((label for label in (*own, *_RACKS) if all(label in view.labels for view in views)), None)


def _hugepages(views: Sequence[NodeView]) -> dict[Any, int]:
    has = {size: min(view.allocatable.get(f"hugepages-{size}", 0) for view in views) for size in ("2Mi", "1Gi")}
    return {size: int(amount) for size, amount in has.items() if amount}


def _own(view: NodeView) -> list[Taint]:
    return [taint for taint in view.taints if not taint.key.startswith(_TEMPORARY)]


def _pool_name(selector: Sequence[tuple[str, str]], gpus: Accelerator | None, taken: set[str]) -> str:
    """Return a name that is free: the pool's own, or what its nodes are."""
    pool = selector[0][1] if selector[0][0] not in {"nvidia.com/gpu.product", _INSTANCE} else ""
    parts = [pool] if pool else [gpus.full if gpus else selector[0][1]]
    plain = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:50].strip("-") or "pool"
    if plain in taken and gpus and pool:
        plain = f"{plain[:30]}-{re.sub(r'[^a-z0-9]+', '-', gpus.full.lower())[:18]}".strip("-")
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}-{number}", number + 1
    return name


def _driver(labels: Mapping[str, str]) -> str | None:
    for keys in _DRIVERS:
        parts = [labels[key] for key in keys if labels.get(key)]
        if parts:
            return ".".join(parts)
    return None


def _labels(node: Json) -> dict[str, str]:
    return dict((node.get("metadata") or {}).get("labels") or {})


def _name(node: Json) -> str:
    return str((node.get("metadata") or {}).get("name"))
