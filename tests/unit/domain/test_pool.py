"""What a pool may say, what is refused, and what of a worker group an older version must not meet."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from raysvc.domain.accelerator import Product, name_of, parse_product
from raysvc.domain.node import NodeView, OsFacts, OsProfile, Taint, Toleration
from raysvc.domain.pool import Accelerator, NodeCount, Pool, PoolSpec, check_pools, pool_of
from raysvc.domain.resources import WorkerGroup
from raysvc.errors import Invalid

AT = datetime(2026, 11, 24, tzinfo=UTC)
FIXED: dict[str, Any] = {"selector": {"pool": "a"}, "nodes": {"fixed": 2}}


def made(name: str, **spec: Any) -> Pool:
    return Pool(name=name, spec=PoolSpec.model_validate({**FIXED, **spec}), created_at=AT, updated_at=AT)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"nodes": {"min": 3, "max": 2}}, "min <= max does not hold for 3, 2"),
        ({"nodes": {}}, "write one of them"),
        ({"nodes": {"max": 2, "fixed": 2}}, "write one of them"),
        ({"nodes": {"fixed": 2, "min": 1}}, "`min` is for a pool that grows"),
        ({"nodes": {"max": 2}}, "a pool that grows says what a new node has"),
        ({"node": {"gpus": 8}}, "GPUs stand in `accelerator`"),
        ({"node_class": "system", "accelerator": {"name": "H100", "count": 8}}, "a system pool has no accelerator"),
        ({"node_class": "system", "projects": ["x"]}, "leave `projects` out"),
        ({"accelerator": {"name": "Q9", "count": 8}}, "Q9 is not in the catalogue"),
        ({"accelerator": {"name": "H100", "count": 8, "products": ["NVIDIA-H100-PCIe-SHARED"]}}, "has a suffix"),
        ({"selector": {}}, "at least 1"),
        ({"selector": {"bad key": "x"}}, "pattern"),
        ({"selector": {"a": "-x"}}, "pattern"),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused_in_words(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match="validation error") as caught:
        PoolSpec.model_validate({**FIXED, **spec})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("other", "nodes", "overlap"),
    [
        ({"pool": "b"}, (), False),
        ({"pool": "a", "zone": "1"}, (), True),
        ({"pool": "a"}, (), True),
        ({"zone": "1"}, ({"pool": "a"}, {"zone": "1"}), False),
        ({"zone": "1"}, ({"pool": "a", "zone": "1"},), True),
    ],
)
def test_pools_that_a_node_could_be_of_both_are_refused(
    other: dict[str, str], nodes: tuple[dict[str, str], ...], overlap: bool
) -> None:
    pools = [made("one"), made("two", selector=other)]
    views = [NodeView(name=f"n{number}", labels=labels) for number, labels in enumerate(nodes)]
    if not overlap:
        check_pools(pools, views)
        return
    with pytest.raises(Invalid, match="'one' and 'two' overlap") as caught:
        check_pools(pools, views)
    assert ("such as n0" in str(caught.value)) is bool(nodes)


def test_a_node_is_of_the_most_specific_pool() -> None:
    wide, narrow = made("wide"), made("narrow", selector={"pool": "a", "zone": "1"})
    assert pool_of({"pool": "a", "zone": "1"}, [wide, narrow]) is narrow
    assert pool_of({"pool": "a"}, [wide, narrow]) is wide
    assert pool_of({}, [wide, narrow]) is None


@pytest.mark.parametrize(
    ("value", "product"),
    [
        ("NVIDIA-H100-80GB-HBM3", Product("NVIDIA-H100-80GB-HBM3")),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", Product("NVIDIA-H100-80GB-HBM3", "1g.10gb")),
        ("Tesla-T4-SHARED", Product("Tesla-T4", None, shared=True)),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb.me-SHARED", Product("NVIDIA-A100-SXM4-40GB", "1g.5gb.me", shared=True)),
        ("", Product("")),
    ],
)
def test_a_products_label_is_taken_apart(value: str, product: Product) -> None:
    assert parse_product(value) == product


def test_the_catalogue_knows_products_by_their_label_and_not_by_their_brochure() -> None:
    assert name_of("NVIDIA-H100-80GB-HBM3") == "H100"
    assert name_of("nvidia-tesla-a100") == "A100-40GB"
    assert name_of("NVIDIA H100") is None


def test_the_values_to_match_with_in_have_the_suffixes_that_discovery_may_write() -> None:
    shared = Accelerator(name="T4", count=1, replicas=4)
    assert (shared.full, shared.offered) == ("T4-SHARED", 4)
    assert {"Tesla-T4", "Tesla-T4-SHARED"} <= set(shared.labels)
    sliced = Accelerator(name="A30", count=4, mig="1g.6gb", resource="nvidia.com/mig-1g.6gb")
    assert sliced.labels == ("NVIDIA-A30", "NVIDIA-A30-MIG-1g.6gb")


def test_counts_and_tolerations() -> None:
    assert (NodeCount(fixed=4).most, NodeCount(max=7).most) == (4, 7)
    taint = Taint(key="sku", value="gpu")
    assert str(taint) == "sku=gpu:NoSchedule"
    assert Toleration(key="sku", value="gpu").covers(taint)
    assert Toleration(key="sku", operator="Exists", effect="NoSchedule").covers(taint)
    assert not Toleration(key="sku", value="cpu").covers(taint)
    assert not Toleration(key="sku", operator="Exists", effect="NoExecute").covers(taint)


def test_drift_is_said_for_each_thing_that_differs() -> None:
    profile = OsProfile(kernel="6.8.*", driver="570.124.06", kubelet="v1.3[3-5].*")
    assert profile.drift(OsFacts(kernel="6.8.0-31", driver="570.124.06", kubelet="v1.34.2")) == ()
    assert profile.drift(OsFacts(kernel="6.5.0", kubelet="v1.36.0")) == (
        "kernel is 6.5.0, not 6.8.*",
        "kubelet is v1.36.0, not v1.3[3-5].*",
        "driver is not reported, not 570.124.06",
    )


def test_what_is_concluded_of_a_node_is_concluded_anew_for_a_copy() -> None:
    node = NodeView(name="a")
    assert (node.trouble, node.marks[1]) == (None, None)
    ill = node.model_copy(update={"ready": False, "labels": {"nvidia.com/gpu.product": "Tesla-T4"}})
    assert (ill.trouble, ill.marks[1]) == ("not ready", "Tesla-T4")


def test_a_worker_group_says_where_it_may_run_only_if_it_says_so() -> None:
    assert WorkerGroup().model_dump().keys() == {"name", "scale", "resources"}, "as 0.1.0 reads it"
    asked = WorkerGroup(accelerator="H100", topology="rack", spot="avoid")
    assert WorkerGroup.model_validate_json(asked.model_dump_json()) == asked
    assert WorkerGroup.model_validate_json('{"accelerator": null}') == WorkerGroup()
    with pytest.raises(ValidationError):
        WorkerGroup(accelerator="H100\n")
