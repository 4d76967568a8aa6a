"""Kubernetes: how long a placement decision takes over 1,000 nodes. No cluster is needed.

Every decision is made anew from the pools and nodes: most of them placed, some refused with a reason for each pool and
the nearest shape that would fit, which costs more. The peer is the decision's bar, 10 ms at the 99th percentile.
"""

import random
import time
from datetime import UTC, datetime

from benchmarks.report import Report, median, quantile
from raysvc.bootstrap.process import settle
from raysvc.control.place import place
from raysvc.domain.node import NodeView
from raysvc.domain.placement import Ask, Placement
from raysvc.domain.pool import Pool, PoolSpec
from raysvc.domain.resources import Resources, Scale, WorkerGroup

NODES = 1_000
DOMAIN = 18  # nodes of an NVL72 rack
BAR_MS = 10.0
GIB = 1 << 30
AT = datetime(2026, 11, 24, tzinfo=UTC)
CONDITIONS = ("DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable")
KINDS = (
    ("h100", "H100", "NVIDIA-H100-80GB-HBM3"),
    ("a100", "A100-80GB", "NVIDIA-A100-SXM4-80GB"),
    ("l4", "L4", "NVIDIA-L4"),
)


def run(*, quick: bool) -> Report:
    """Decide on many asks, each over all nodes, in wall time and in processor time."""
    pools, nodes = _pools(), _nodes()
    quarantine = {nodes[number].name: "XID 79" for number in range(0, NODES, 97)}
    samples: dict[str, list[float]] = {"placed_ms": [], "refused_ms": [], "placed_cpu_ms": [], "refused_cpu_ms": []}
    settle()  # as the server does once it has started
    for ask in _asks(200 if quick else 2_000):
        began, busy = time.perf_counter(), time.process_time()
        answer = place(ask, pools, nodes, quarantine)
        wall, cpu = 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - busy)
        kind = "placed" if isinstance(answer, Placement) else "refused"
        samples[f"{kind}_ms"].append(wall)
        samples[f"{kind}_cpu_ms"].append(cpu)
    every = samples["placed_ms"] + samples["refused_ms"]
    metrics = {
        "decision_ms": median(every),
        "p99_decision_ms": quantile(every, 0.99),
        "p99_decision_cpu_ms": quantile(samples["placed_cpu_ms"] + samples["refused_cpu_ms"], 0.99),
        "placed_ms": median(samples["placed_ms"]),
        "refused_ms": median(samples["refused_ms"]),
        "nodes": float(NODES),
        "refused_share": len(samples["refused_ms"]) / len(every),
    }
    peer = {"p99_decision_ms": BAR_MS}
    return Report("kube", metrics, peer, {"p99_decision_ms": metrics["p99_decision_ms"] / BAR_MS}, samples)


def _pools() -> list[Pool]:
    node = Resources(cpus=96, memory=900 * GIB)
    specs = {
        name: PoolSpec.model_validate(
            {
                "selector": {"example.com/pool": name},
                "nodes": {"fixed": 340} if name == "h100" else {"max": 400},
                "node": node,
                "accelerator": {"name": accelerator, "count": 8},
                "taints": [{"key": "nvidia.com/gpu", "value": "present"}],
                "topology": {"rack": "example.com/rack"},
                "price_per_hour": price,
                "os": {"driver": "570.*", "on_drift": "exclude"},
            }
        )
        for price, (name, accelerator, _) in enumerate(KINDS, start=1)
    }
    specs["system"] = PoolSpec.model_validate(
        {"selector": {"example.com/pool": "system"}, "node_class": "system", "nodes": {"max": 8}, "node": node}
    )
    return [Pool(name=name, spec=spec, created_at=AT, updated_at=AT) for name, spec in specs.items()]


def _nodes() -> list[NodeView]:
    draw = random.Random(1)  # noqa: S311 a simulation
    nodes = []
    for number in range(NODES - 2):
        name, _, product = KINDS[number % len(KINDS)]
        rack = number // len(KINDS) // DOMAIN
        labels = {
            "example.com/pool": name,
            "example.com/rack": f"r{rack}",
            "nvidia.com/gpu.product": product,
            "nvidia.com/gpu.clique": f"{name}.{rack}",
            **{f"example.com/label-{label}": "x" for label in range(30)},
        }
        view = {
            "name": f"{name}-{number}",
            "labels": labels,
            "taints": [{"key": "nvidia.com/gpu", "value": "present"}],
            "allocatable": {"cpu": 96.0, "memory": 900.0 * GIB, "nvidia.com/gpu": 8.0, "pods": 110.0},
            "used": {"cpu": 1.0, "nvidia.com/gpu": draw.choice([0, 0, 4, 8])},
            "conditions": dict.fromkeys(CONDITIONS, "False"),
            "os": {"driver": draw.choice(["570.124", "570.133", "550.90"])},
        }
        nodes.append(NodeView.model_validate(view))
    has = {"cpu": 16.0, "memory": 64.0 * GIB}
    return [*nodes, *(NodeView(name=f"s{n}", labels={"example.com/pool": "system"}, allocatable=has) for n in range(2))]


def _asks(many: int) -> list[Ask]:
    draw = random.Random(2)  # noqa: S311 a simulation
    asks = []
    for _ in range(many):
        want = draw.choice([1, 2, 4, 8, 8, 16])
        group = WorkerGroup(
            scale=Scale(want=want, max=want),
            resources=Resources(cpus=8, gpus=draw.choice([1, 4, 8]), memory=GIB),
            accelerator=draw.choice([None, "H100", "A100", "B200"]),
            topology=draw.choice(["any", "nvlink-domain", "rack"]),
        )
        asks.append(Ask(groups=(group,), head=Resources(cpus=1, memory=GIB)))
    return asks
