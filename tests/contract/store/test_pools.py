"""Node pools and quarantines: kept all or none, replaced by name, listed in order."""

from datetime import datetime

import pytest

from raysvc.domain.node import Quarantine
from raysvc.domain.pool import Pool, PoolSpec
from raysvc.errors import NotFound
from raysvc.ports import Store
from tests.contract.store.make import START, seconds


def pool(name: str, at: datetime = START, **spec: object) -> Pool:
    said = {"selector": {"example.com/pool": name}, "nodes": {"fixed": 2}, **spec}
    return Pool(name=name, spec=PoolSpec.model_validate(said), created_at=START, updated_at=at)


async def test_pools_are_put_replaced_listed_by_name_and_deleted(store: Store) -> None:
    accelerator = {"name": "H100", "count": 8, "mig": "1g.10gb", "resource": "nvidia.com/mig-1g.10gb"}
    b, a = pool("b", accelerator=accelerator, price_per_hour=32.5), pool("a", projects=["x"])
    await store.pools.put([b, a])
    assert list(await store.pools.list()) == [a, b]
    later = pool("b", seconds(5), nodes={"max": 9}, node={"cpus": 4, "memory": 1 << 34})
    await store.pools.put([later])
    assert list(await store.pools.list()) == [a, later]
    await store.pools.delete("a")
    assert list(await store.pools.list()) == [later]
    with pytest.raises(NotFound, match="'a'"):
        await store.pools.delete("a")


async def test_a_quarantine_is_put_replaced_and_ended(store: Store) -> None:
    first = Quarantine(node="gpu-2", reason="XID 79", by="ann", at=START)
    other = Quarantine(node="gpu-1.example.com", reason="link down ✓", by="bob", at=seconds(1))
    await store.quarantines.put(first)
    await store.quarantines.put(other)
    assert list(await store.quarantines.list()) == [other, first]
    again = first.model_copy(update={"reason": "XID 94"})
    await store.quarantines.put(again)
    await store.quarantines.delete("gpu-1.example.com")
    await store.quarantines.delete("gpu-1.example.com")
    assert list(await store.quarantines.list()) == [again]
