"""Pools and nodes for tests of placement: GPU nodes of 8, system nodes, and words to ask with."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from raysvc.control.place import place
from raysvc.domain.node import NodeView
from raysvc.domain.placement import Ask, GroupPlacement, Misfit, Placement, Refusal
from raysvc.domain.pool import Pool, PoolSpec
from raysvc.domain.resources import Resources, Scale, WorkerGroup

AT = datetime(2026, 11, 24, 8, tzinfo=UTC)
GIB = 1 << 30
CLIQUE, RACK, PRODUCT = "nvidia.com/gpu.clique", "example.com/rack", "nvidia.com/gpu.product"
H100 = {"name": "H100", "count": 8, "memory_mib": 81_559}


def pool(name: str, **spec: Any) -> Pool:
    """Return a pool whose nodes have the label pool=NAME: 8 H100 and 4 fixed nodes unless told otherwise."""
    said = {
        "selector": {"pool": name},
        "nodes": {"fixed": 4},
        "node": {"cpus": 64, "memory": 512 * GIB},
        "accelerator": H100,
        "topology": {"rack": RACK},
        **spec,
    }
    return Pool(name=name, spec=PoolSpec.model_validate(said), created_at=AT, updated_at=AT)


def system_pool(name: str = "system", **spec: Any) -> Pool:
    return pool(name, node_class="system", accelerator=None, **{"nodes": {"fixed": 1}, **spec})


def node(name: str, of: str = "gpu", *, used: float = 0, gpus: float = 8, clique: str = "", **view: Any) -> NodeView:
    """Return a node of a pool; `used` are GPUs."""
    labels = {"pool": of, PRODUCT: "NVIDIA-H100-80GB-HBM3", **view.pop("labels", {})}
    if clique:
        labels[CLIQUE] = clique
    has = {"cpu": 64, "memory": 512.0 * GIB, "nvidia.com/gpu": gpus}
    return NodeView(name=name, labels=labels, allocatable=has, used={"nvidia.com/gpu": used}, **view)


def system_node(name: str = "sys-1", of: str = "system", **view: Any) -> NodeView:
    has = {"cpu": 8, "memory": 32.0 * GIB}
    return NodeView.model_validate({"name": name, "labels": {"pool": of}, "allocatable": has, **view})


def group(want: int = 1, gpus: float = 8, **fields: Any) -> WorkerGroup:
    resources = Resources(cpus=fields.pop("cpus", 1), gpus=gpus, memory=fields.pop("memory", 0))
    return WorkerGroup.model_validate({"scale": Scale(want=want, max=max(want, 1)), "resources": resources, **fields})


def ask(*groups: WorkerGroup, project: str = "default", **head: Any) -> Ask:
    return Ask(project=project, groups=groups, head=Resources(**{"cpus": 1, "memory": GIB, **head}))


SYSTEM, SYS = system_pool(), system_node()


def placed(asked: Ask, pools: Sequence[Pool], nodes: Sequence[NodeView], **quarantine: str) -> GroupPlacement:
    """Return where the first group went."""
    answer = place(asked, [SYSTEM, *pools], [SYS, *nodes], quarantine)
    assert isinstance(answer, Placement), answer
    assert (answer.head_pool, answer.head_node) == ("system", "sys-1")
    return answer.groups[0]


def refused(asked: Ask, pools: Sequence[Pool], nodes: Sequence[NodeView], **quarantine: str) -> Refusal:
    answer = place(asked, [SYSTEM, *pools], [SYS, *nodes], quarantine)
    assert isinstance(answer, Refusal), answer
    return answer


def code(refusal: Refusal, name: str = "gpu") -> Misfit:
    return next(why.code for why in refusal.pools if why.pool == name)


def text(refusal: Refusal, name: str = "gpu") -> str:
    return next(why.message for why in refusal.pools if why.pool == name)
