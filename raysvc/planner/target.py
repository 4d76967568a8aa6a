"""Where a model may run: rows of the price table, pools of the operator, or a bare GPU kind that was asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date

from raysvc.domain.plan import GpuPool, PlanRequest
from raysvc.errors import Invalid, NotFound
from raysvc.planner.architecture import Architecture
from raysvc.planner.catalogue import Catalogue, Gpu, Sku
from raysvc.planner.weights import Split

_NODE = 8  # GPUs of the largest common machine: what is assumed of a bare GPU kind
_MOST_NODES = 4


@dataclass(frozen=True, slots=True)
class Target:
    """GPUs of one kind. USD an hour: `machine_usd` where whole machines are rented, `gpu_usd` where single GPUs are."""

    gpu: Gpu
    per_node: int
    nodes: int = 1
    fast_links: bool = True
    rdma: bool = False
    machine_usd: float | None = None
    gpu_usd: float | None = None
    provider: str | None = None
    sku: str | None = None
    as_of: date | None = None
    stale: bool = False
    price_note: str | None = None

    def usd_per_hour(self, gpus: int) -> float | None:
        if self.machine_usd is not None:
            return self.machine_usd * -(-gpus // self.per_node)
        return self.gpu_usd * gpus if self.gpu_usd is not None else None


def targets(request: PlanRequest, catalogue: Catalogue) -> tuple[Target, ...]:
    """Return what the request means: the pool it names, the GPU kind it names, its pools, or every row of the table.

    Raises NotFound for a pool that is not there, Invalid for an unknown GPU kind.
    """
    if request.pool is not None:
        pool = next((pool for pool in request.pools if pool.name == request.pool), None)
        if pool is None:
            raise NotFound(f"There is no pool {request.pool!r}.")
        return (_of_pool(request, catalogue, pool),)
    if request.gpu is not None:
        return (_bare(request, catalogue, catalogue.gpu(request.gpu)),)
    if request.pools:
        return tuple(_of_pool(request, catalogue, pool) for pool in request.pools)
    wanted = request.gpus
    rows = [sku for sku in catalogue.skus if wanted is None or sku.count == wanted]
    if not rows:
        raise Invalid(f"No machine of the catalogue has {wanted} GPUs; name a GPU kind as well.", field="gpus")
    return tuple(_of_sku(request, catalogue, sku) for sku in rows)


def splits(request: PlanRequest, target: Target, model: Architecture) -> tuple[Split, ...]:
    """Return the ways to divide one replica over the target's GPUs, smallest first.

    Tensor parallelism stays inside a machine: its all-reduces want NVLink. More machines become pipeline stages.
    """
    room = request.gpus or target.per_node * target.nodes
    node = min(target.per_node, room)
    tps = (request.tensor_parallel,) if request.tensor_parallel else _tensor_sizes(node, model)
    found = [Split(tp, pp) for tp in tps for pp in _stages(request, tp, room)]
    return tuple(sorted(found, key=lambda split: (split.tp * split.pp, split.pp)))


def _tensor_sizes(node: int, model: Architecture) -> tuple[int, ...]:
    """Return powers of two, the whole node, and what the heads divide by."""
    heads = {it.heads for it in model.attentions}
    sizes = {1 << power for power in range(node.bit_length()) if 1 << power <= node} | {node}
    whole = {size for size in range(1, node + 1) if heads and all(count % size == 0 for count in heads)}
    return tuple(sorted(sizes & whole or sizes))


def _stages(request: PlanRequest, tp: int, room: int) -> Iterator[int]:
    if request.pipeline_parallel is not None:
        yield request.pipeline_parallel
        return
    yield 1
    if request.gpus is not None and room % tp == 0 and room > tp:
        yield room // tp  # all the GPUs that were named, as stages


def _bare(request: PlanRequest, catalogue: Catalogue, gpu: Gpu) -> Target:
    gpu = _usable(request, gpu)
    asked = (request.tensor_parallel or 1) * (request.pipeline_parallel or 1)
    node = max(request.gpus or 0, asked, request.tensor_parallel or _NODE)
    base = Target(gpu, node, fast_links=gpu.nvlink_gb_s > 0, gpu_usd=request.usd_per_gpu_hour)
    if request.usd_per_gpu_hour is not None:
        return base
    rows = [sku for sku in catalogue.skus if sku.gpu == gpu.name]
    if not rows:
        return base
    cheapest = min(rows, key=lambda sku: sku.usd_per_hour / sku.count)
    return replace(
        base,
        gpu_usd=cheapest.usd_per_hour / cheapest.count,
        as_of=cheapest.as_of,
        stale=cheapest.stale(request.today),
        price_note=f"priced as {cheapest.provider} {cheapest.sku}, the cheapest {gpu.name} of the catalogue",
    )


def _of_sku(request: PlanRequest, catalogue: Catalogue, sku: Sku) -> Target:
    override = request.usd_per_gpu_hour
    return Target(
        _usable(request, catalogue.gpu(sku.gpu)),
        sku.count,
        nodes=_MOST_NODES if sku.rdma else 1,
        fast_links=sku.fabric in {"nvswitch", "nvlink"},
        rdma=sku.rdma,
        machine_usd=sku.usd_per_hour if override is None else override * sku.count,
        provider=sku.provider,
        sku=sku.sku,
        as_of=sku.as_of,
        stale=override is None and sku.stale(request.today),
    )


def _of_pool(request: PlanRequest, catalogue: Catalogue, pool: GpuPool) -> Target:
    return Target(
        _usable(request, catalogue.gpu(pool.gpu)),
        pool.gpus_per_node,
        nodes=pool.nodes,
        fast_links=pool.fabric in {"nvswitch", "nvlink"},
        rdma=pool.rdma,
        gpu_usd=request.usd_per_gpu_hour if request.usd_per_gpu_hour is not None else pool.usd_per_gpu_hour,
        provider="pool",
        sku=pool.name,
        as_of=pool.as_of,
    )


def _usable(request: PlanRequest, gpu: Gpu) -> Gpu:
    return gpu if request.usable_gib is None else gpu.model_copy(update={"usable_gib": request.usable_gib})
