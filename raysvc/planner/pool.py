"""A declared node pool as the planner sees it."""

from raysvc.domain import pool as declared
from raysvc.domain.plan import Fabric, GpuPool
from raysvc.errors import Invalid
from raysvc.planner.catalogue import load_catalogue


def of_pool(pool: declared.Pool) -> GpuPool:
    """Return the pool's GPUs; raises Invalid where it has none, or only parts of some.

    How its GPUs reach each other no pool says: it is taken from what the GPU has.
    """
    accelerator = pool.spec.accelerator
    if accelerator is None:
        raise Invalid(f"Pool {pool.name} has no accelerator; a model is planned on GPUs.", field="pool")
    if not accelerator.whole:
        raise Invalid(
            f"Pool {pool.name} offers {accelerator.full}; only whole GPUs can be planned for now.", field="pool"
        )
    gpu = load_catalogue().gpu(accelerator.name)
    fabric: Fabric = "none" if accelerator.count == 1 else "nvswitch" if gpu.nvlink_gb_s else "pcie"
    price = pool.spec.price_per_hour
    return GpuPool(
        name=pool.name,
        gpu=gpu.name,
        gpus_per_node=accelerator.count,
        nodes=pool.spec.nodes.most,
        fabric=fabric,
        rdma=pool.spec.rdma is not None,
        usd_per_gpu_hour=None if price is None else price / accelerator.count,
        as_of=None if price is None else pool.updated_at.date(),
    )
