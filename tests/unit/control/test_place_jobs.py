"""Heads, several groups, projects, and a queue of jobs: what is kept for those who wait."""

from typing import Any

from raysvc.control.place import allot, place
from raysvc.domain.job import JobSpec
from raysvc.domain.placement import Misfit, Placement, Refusal
from raysvc.domain.resources import Resources, Shape

from .ground import (
    CLIQUE,
    RACK,
    SYS,
    SYSTEM,
    ask,
    code,
    group,
    node,
    placed,
    pool,
    refused,
    system_node,
    system_pool,
    text,
)


def test_heads_go_to_system_nodes_and_workers_never() -> None:
    only_system = refused(ask(group(1, gpus=0)), [], [])
    assert "raysvc pool apply" in only_system.message
    answer = place(ask(group(1)), [pool("gpu")], [node("a")], {})
    assert isinstance(answer, Refusal)
    assert "There is no pool of system nodes" in answer.message
    full = place(ask(group(1)), [SYSTEM, pool("gpu")], [node("a"), system_node(cordoned=True)], {})
    assert isinstance(full, Refusal)
    assert full.message == "No system node has room for the head."
    assert full.pools[0].message == "is full (sys-1 cordoned)"


def test_a_system_pool_that_grows_makes_the_head_a_node() -> None:
    grows = system_pool(nodes={"max": 2})
    answer = place(ask(group(1)), [grows, pool("gpu")], [node("a")], {})
    assert isinstance(answer, Placement)
    assert answer.head_node is None


def test_pools_of_other_projects_are_neither_used_nor_named() -> None:
    theirs = pool("theirs", projects=["b"])
    assert placed(ask(group(1), project="b"), [theirs], [node("a", of="theirs")]).pool == "theirs"
    no = refused(ask(group(1), project="a"), [theirs], [node("a", of="theirs")])
    assert no.pools == ()
    assert "theirs" not in no.model_dump_json()


def test_a_pool_none_of_whose_nodes_is_there_says_so() -> None:
    no = refused(ask(group(1)), [pool("gpu")], [])
    assert (code(no), no.ever) == (Misfit.NO_NODES, True)
    assert text(no) == "none of its 4 nodes is there: no node has its labels"
    assert "3 of its 4 nodes are not there" in text(refused(ask(group(2)), [pool("gpu")], [node("a")]))


def test_groups_go_each_to_its_own_pool_and_all_or_none() -> None:
    pools = [pool("gpu"), pool("cpu", accelerator=None)]
    nodes = [node("a"), node("c", of="cpu", gpus=0)]
    groups = (group(1, gpus=0, cpus=60, name="load"), group(1, name="train"))
    answer = place(ask(*groups), [SYSTEM, *pools], [SYS, *nodes], {})
    assert isinstance(answer, Placement)
    assert [(it.group, it.pool) for it in answer.groups] == [("load", "cpu"), ("train", "gpu")]
    both = place(ask(group(1, name="x"), group(1, name="y")), [SYSTEM, *pools], [SYS, *nodes], {})
    assert isinstance(both, Refusal)
    assert both.group is None
    assert "not all of them together" in both.message


def test_a_group_gives_way_where_another_could_go_nowhere_else() -> None:
    pools = [
        pool("cheap", price_per_hour=1.0),
        pool("dear", price_per_hour=2.0, accelerator={"name": "H200", "count": 8}),
    ]
    label: dict[str, Any] = {"labels": {"nvidia.com/gpu.product": "NVIDIA-H200"}}
    nodes = [node("a", of="cheap"), node("b", of="dear", **label)]
    answer = place(
        ask(group(1, name="any"), group(1, name="h100", accelerator="H100")), [SYSTEM, *pools], [SYS, *nodes], {}
    )
    assert isinstance(answer, Placement)
    assert {it.group: it.pool for it in answer.groups} == {"any": "dear", "h100": "cheap"}


def test_a_group_that_starts_with_no_worker_needs_a_pool_that_could_hold_one() -> None:
    found = placed(ask(group(0)), [pool("gpu")], [node("a", used=8)])
    assert (found.pool, found.nodes, found.new_nodes) == ("gpu", {}, 0)
    assert code(refused(ask(group(0, gpus=16)), [pool("gpu")], [node("a")])) is Misfit.NODE_TOO_SMALL


def test_what_one_job_takes_the_next_one_lacks() -> None:
    nodes = [SYS, node("a"), node("b")]
    first, second = allot([ask(group(1)), ask(group(2))], [SYSTEM, pool("gpu")], nodes, {})
    assert isinstance(first, Placement)
    assert isinstance(second, Refusal)
    assert second.ever


def test_a_waiting_gang_keeps_a_domain_from_those_behind_it() -> None:
    nodes = [SYS]
    nodes += [node(f"a{n}", clique="c.1", used=8 * (n == 0)) for n in range(3)]
    nodes += [node(f"b{n}", clique="c.2", used=8 * (n > 0)) for n in range(3)]
    large, small, other = ask(group(3, topology="nvlink-domain")), ask(group(1)), ask(group(1))
    first, second, third = allot([large, small, other], [SYSTEM, pool("gpu")], nodes, {})
    assert isinstance(first, Refusal)
    assert isinstance(second, Placement)
    assert second.groups[0].nodes == {"b0": 1}, "the domain that lacks least, c.1, is kept"
    assert isinstance(third, Refusal)


def test_one_that_can_never_fit_keeps_nothing() -> None:
    first, second = allot(
        [ask(group(3)), ask(group(1))], [SYSTEM, pool("gpu", nodes={"fixed": 2})], [SYS, node("a"), node("b")], {}
    )
    assert isinstance(first, Refusal)
    assert not first.ever
    assert isinstance(second, Placement)


def test_a_driver_that_wants_gpus_is_a_worker_and_the_head_has_a_least_size() -> None:
    spec = JobSpec(entrypoint="x", resources=Resources(gpus=1, cpus=2), shape=Shape(workers=(group(2),)))
    asked = spec.ask("default")
    assert [(it.name, it.scale.want, it.resources.gpus) for it in asked.groups] == [("workers", 2, 8), ("driver", 1, 1)]
    # The group may grow, and so the head has Ray's autoscaler beside it.
    assert (asked.head.cpus, asked.head.gpus, asked.head.memory) == (1.5, 0, 7 << 29)
    assert JobSpec(entrypoint="x", resources=Resources(cpus=4)).ask("default").head.cpus == 4


def test_groups_of_one_name_are_told_apart_by_their_order() -> None:
    answer = place(
        ask(group(1, gpus=1), group(1, gpus=8)), [SYSTEM, pool("gpu")], [SYS, node("a"), node("b", used=4)], {}
    )
    assert isinstance(answer, Placement)
    assert [it.nodes for it in answer.groups] == [{"b": 1}, {"a": 1}]


def test_the_label_of_nvlink_domains_is_the_pools_to_name() -> None:
    named = pool("gpu", topology={"nvlink_domain": RACK})
    nodes = [node(name, labels={RACK: "r", CLIQUE: name}) for name in "ab"]
    assert placed(ask(group(2, topology="nvlink-domain")), [named], nodes).domain == "r"


def test_a_waiting_gang_keeps_what_is_free_already() -> None:
    nodes = [SYS, node("a", used=8), node("b", used=8), node("c", used=8), node("d")]
    _, second = allot([ask(group(3)), ask(group(1))], [SYSTEM, pool("gpu")], nodes, {})
    assert isinstance(second, Refusal), "d is the gang's, though it comes last by name"
