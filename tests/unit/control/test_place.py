"""Where gangs go, and what is said where they go nowhere."""

from typing import Any

import pytest

from raysvc.control.place import place
from raysvc.domain.placement import Misfit, Placement, Refusal

from .ground import GIB, RACK, SYS, SYSTEM, ask, code, group, node, placed, pool, refused, text


def test_a_gang_goes_whole_to_free_nodes() -> None:
    nodes = [node("a", used=8), node("b"), node("c"), node("d", used=1)]
    found = placed(ask(group(2)), [pool("gpu")], nodes)
    assert (found.pool, found.nodes, found.new_nodes) == ("gpu", {"b": 1, "c": 1}, 0)


def test_all_or_nothing() -> None:
    nodes = [node("a"), node("b"), node("c", used=1), node("d", used=8)]
    no = refused(ask(group(3)), [pool("gpu")], nodes)
    assert (code(no), no.ever) == (Misfit.BUSY, True)
    assert text(no) == "has room for 2 of 3 workers now (room for 2 more is taken)"
    assert no.nearest
    assert (no.nearest.workers, no.nearest.gpus, no.nearest.pool) == (2, 8, "gpu")
    assert no.nearest.message == "2 workers of 8 GPUs would fit now, on gpu"


def test_small_workers_fill_few_nodes_and_the_last_one_tightly() -> None:
    nodes = [node("a", used=6), node("b", used=5), node("c"), node("d")]
    found = placed(ask(group(10, gpus=1)), [pool("gpu")], nodes)
    assert found.nodes == {"c": 8, "a": 2}


def test_the_fullest_domain_that_holds_the_gang_is_taken() -> None:
    nodes = [node(f"a{n}", clique="c.1") for n in range(4)] + [node(f"b{n}", clique="c.2") for n in range(2)]
    found = placed(ask(group(2, topology="nvlink-domain")), [pool("gpu")], nodes)
    assert (found.domain, set(found.nodes)) == ("c.2", {"b0", "b1"})
    anywhere = placed(ask(group(1)), [pool("gpu")], nodes)
    assert set(anywhere.nodes) <= {"b0", "b1"}, "one that goes anywhere leaves the larger domain whole"


def test_a_gang_is_not_split_over_domains() -> None:
    nodes = [node(f"a{n}", clique="c.1", used=4 * n) for n in range(3)] + [
        node(f"b{n}", clique="c.2") for n in range(2)
    ]
    no = refused(ask(group(3, topology="nvlink-domain")), [pool("gpu")], nodes)
    assert code(no) is Misfit.DOMAIN
    assert text(no) == "no NVLink domain has room for all 3: the roomiest, c.2, has room for 2"
    assert no.ever
    assert no.nearest
    assert no.nearest.message == "all 3 would fit without `topology: nvlink-domain`, on gpu"


def test_a_rack_is_a_domain_of_the_label_that_the_pool_names() -> None:
    nodes = [node(name, clique=name, labels={RACK: rack}) for name, rack in zip("abcd", "1122", strict=True)]
    nodes[0] = nodes[0].model_copy(update={"used": {"nvidia.com/gpu": 8.0}})
    found = placed(ask(group(2, topology="rack")), [pool("gpu")], nodes)
    assert (found.domain, set(found.nodes)) == ("2", {"c", "d"})
    assert code(refused(ask(group(2, topology="nvlink-domain")), [pool("gpu")], nodes)) is Misfit.DOMAIN


def test_a_node_without_the_label_is_a_domain_by_itself() -> None:
    nodes = [node("a"), node("b")]
    assert placed(ask(group(2, gpus=4, topology="nvlink-domain")), [pool("gpu")], nodes).domain == "a"
    no = refused(ask(group(2, topology="nvlink-domain")), [pool("gpu")], nodes)
    assert (code(no), no.ever) == (Misfit.DOMAIN, False)
    assert text(no) == "no NVLink domain is large enough for all 2: the largest, a, holds 1"


def test_a_domain_that_would_do_but_is_busy_is_worth_waiting_for() -> None:
    nodes = [node("a", clique="c.1"), node("b", clique="c.1", used=8), node("c", used=8)]
    no = refused(ask(group(2, topology="nvlink-domain")), [pool("gpu")], nodes)
    assert (code(no), no.ever) == (Misfit.BUSY, True)


def test_the_cheapest_pool_comes_first_and_spot_after_all_on_demand() -> None:
    pools = [
        pool("dear", price_per_hour=98.0),
        pool("cheap", price_per_hour=32.0),
        pool("spot", price_per_hour=9.0, spot=True),
    ]
    nodes = [node(name, of=name) for name in ("dear", "cheap", "spot")]
    order = [placed(ask(group(1)), pools, nodes[: n + 1]).pool for n in range(3)]
    assert order == ["dear", "cheap", "cheap"]
    assert placed(ask(group(1, spot="prefer")), pools, nodes).pool == "spot"
    assert placed(ask(group(1)), pools, nodes[2:]).pool == "spot"
    no = refused(ask(group(1, spot="avoid")), pools, nodes[2:])
    assert (code(no, "spot"), text(no, "spot")) == (Misfit.SPOT, "its nodes are spot nodes, which are to be avoided")


def test_a_price_is_for_what_a_worker_needs_of_a_node() -> None:
    small = pool("small", price_per_hour=5.0, accelerator={**pool("x").spec.accelerator.model_dump(), "count": 1})  # type: ignore[union-attr]
    nodes = [node("one", of="small", gpus=1), node("eight", of="big")]
    assert placed(ask(group(1, gpus=1)), [small, pool("big", price_per_hour=32.0)], nodes).pool == "big"


@pytest.mark.parametrize(
    ("accelerator", "asked", "meets"),
    [
        ({"name": "A100-80GB"}, "A100", True),
        ({"name": "A100-80GB"}, "A100-40GB", False),
        ({"name": "A100-80GB"}, "NVIDIA-A100-SXM4-80GB", True),
        ({"name": "H100"}, "h100", True),
        ({"name": "H100"}, "H10", False),
        ({"name": "H100", "replicas": 4}, "H100", False),
        ({"name": "H100", "replicas": 4}, "H100-SHARED", True),
        ({"name": "H100", "replicas": 4}, None, False),
        ({"name": "H100", "mig": "1g.10gb"}, "H100-MIG-1g.10gb", True),
        ({"name": "H100", "mig": "1g.10gb"}, "H100", False),
        ({"name": "H100", "mig": "1g.10gb"}, "H100-MIG-2g.20gb", False),
        ({"name": "X1", "products": ["Acme-X1"]}, "Acme-X1", True),
    ],
)
def test_an_accelerator_is_asked_for_by_name_and_what_is_cut_up_only_on_purpose(
    accelerator: dict[str, Any], asked: str | None, meets: bool
) -> None:
    made = pool("gpu", accelerator={"count": 8, **accelerator})
    assert made.spec.accelerator
    machine = node("a", gpus=32, labels={"nvidia.com/gpu.product": made.spec.accelerator.labels[-1]})
    answer = place(ask(group(1, gpus=1, accelerator=asked)), [SYSTEM, made], [SYS, machine], {})
    assert isinstance(answer, Placement) is meets
    if isinstance(answer, Refusal):
        assert code(answer) is Misfit.ACCELERATOR
        assert made.spec.accelerator.full in text(answer)


def test_workers_that_need_no_gpu_leave_gpu_nodes_alone_while_there_are_others() -> None:
    pools = [pool("gpu"), pool("cpu", accelerator=None, price_per_hour=1.0)]
    nodes = [node("a"), node("c", of="cpu", gpus=0)]
    assert placed(ask(group(1, gpus=0, cpus=4)), pools, nodes).pool == "cpu"
    assert placed(ask(group(1, gpus=0, cpus=4)), pools, nodes[:1]).pool == "gpu"
    assert code(refused(ask(group(1, gpus=1)), pools, nodes[1:]), "cpu") is Misfit.ACCELERATOR


def test_a_pool_that_grows_is_filled_up_to_its_most_nodes() -> None:
    grows = pool("gpu", nodes={"max": 3})
    found = placed(ask(group(3)), [grows], [node("a"), node("b", used=8)][:1])
    assert (found.nodes, found.new_nodes) == ({"a": 1}, 2)
    no = refused(ask(group(3)), [grows], [node("a"), node("b", used=8)])
    assert text(no) == "has room for 2 of 3 workers now (room for 1 more is taken; it grows to 3 nodes at most)"
    assert placed(ask(group(24, gpus=1)), [grows], []).new_nodes == 3


def test_where_new_nodes_will_lie_is_not_promised() -> None:
    grows = pool("gpu", nodes={"max": 4})
    assert placed(ask(group(2, gpus=4, topology="nvlink-domain")), [grows], []).new_nodes == 1
    no = refused(ask(group(2, topology="nvlink-domain")), [grows], [])
    assert "no NVLink domain is promised on them" in text(no)


def test_a_worker_larger_than_a_node_is_told_what_would_fit() -> None:
    no = refused(ask(group(1, gpus=16)), [pool("gpu")], [node("a"), node("b")])
    assert (code(no), no.ever) == (Misfit.NODE_TOO_SMALL, False)
    assert text(no) == "a worker asks for 16 nvidia.com/gpu, and a node has 8 nvidia.com/gpu"
    assert no.message == "No pool has room for group 'workers' (1 of 16 GPUs each), not even when idle."
    assert no.nearest
    assert (no.nearest.workers, no.nearest.gpus) == (2, 8)
    memory = refused(ask(group(1, memory=600 * GIB)), [pool("gpu")], [node("a")])
    assert text(memory) == "a worker asks for 600.0 GiB of memory, and a node has 512.0 GiB of memory"


@pytest.mark.parametrize(
    ("ill", "quarantine", "expected", "said"),
    [
        ({"ready": False}, "", Misfit.UNHEALTHY, "b unhealthy: not ready"),
        ({"conditions": {"DiskPressure": "True", "Ready": "True"}}, "", Misfit.UNHEALTHY, "b unhealthy: DiskPressure"),
        (
            {"conditions": {"AcceleratedHardwareReady": "False"}},
            "",
            Misfit.UNHEALTHY,
            "AcceleratedHardwareReady is False",
        ),
        ({"gpus": 7}, "", Misfit.UNHEALTHY, "b unhealthy: has 7 of 8 nvidia.com/gpu"),
        ({"cordoned": True}, "", Misfit.CORDONED, "b cordoned"),
        ({}, "XID 79", Misfit.QUARANTINED, "b quarantined: XID 79"),
        ({"os": {"driver": "550.90"}}, "", Misfit.DRIFTED, "b drifted: driver is 550.90, not 570.*"),
        ({"os": {}}, "", Misfit.DRIFTED, "b drifted: driver is not reported, not 570.*"),
        (
            {"taints": [{"key": "team", "value": "x"}]},
            "",
            Misfit.TAINTED,
            "its taint team=x:NoSchedule is not tolerated",
        ),
        (
            {"labels": {"nvidia.com/gpu.product": "Tesla-T4"}},
            "",
            Misfit.ACCELERATOR,
            "has Tesla-T4, which is none of NVIDIA-H100-80GB-HBM3",
        ),
    ],
)
def test_no_gang_is_placed_on_a_node_that_is_not_as_it_should_be(
    ill: dict[str, Any], quarantine: str, expected: Misfit, said: str
) -> None:
    os: dict[str, Any] = {"os": {"driver": "570.124.06"}}
    made = pool("gpu", nodes={"fixed": 2}, os={"driver": "570.*", "on_drift": "exclude"})
    nodes = [node("a", **os), node("b", **{**os, **ill})]
    asides = {"b": quarantine} if quarantine else {}
    no = refused(ask(group(2)), [made], nodes, **asides)
    assert code(no) is expected
    assert said in text(no)
    lasting = {Misfit.DRIFTED, Misfit.TAINTED, Misfit.ACCELERATOR}
    assert no.ever is (expected not in lasting), "what heals by itself is worth waiting for"
    assert placed(ask(group(1)), [made], nodes, **asides).nodes == {"a": 1}


def test_drift_that_is_only_reported_keeps_nothing_away() -> None:
    made = pool("gpu", os={"driver": "570.*"})
    assert placed(ask(group(1)), [made], [node("a", os={"driver": "550.1"})]).nodes == {"a": 1}


def test_taints_of_the_pool_and_of_kubernetes_itself_keep_nothing_away() -> None:
    taints = [{"key": "nvidia.com/gpu", "value": "present"}, {"key": "sku", "value": "gpu"}]
    made = pool("gpu", taints=taints[:1], tolerations=[{"key": "sku", "operator": "Exists"}])
    soft = {"key": "x", "effect": "PreferNoSchedule"}
    nodes = [node("a", taints=[*taints, soft, {"key": "node.kubernetes.io/memory-pressure"}])]
    assert placed(ask(group(1)), [made], nodes).nodes == {"a": 1}
