"""What holds of placement for any ground: never above capacity, all or nothing, one domain, and everybody's turn comes.

Feasibility is held against an oracle that tries every way to put each worker on each node.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from hypothesis import example, given, settings
from hypothesis import strategies as st

from raysvc.control.place import allot, place
from raysvc.domain.node import NodeView
from raysvc.domain.placement import Ask, GroupPlacement, Placement, Refusal
from raysvc.domain.pool import Pool
from raysvc.domain.resources import WorkerGroup

from .ground import CLIQUE, ask, group, node, pool, system_node, system_pool

SYSTEM = system_pool()
NODES = st.lists(
    st.builds(
        lambda of, used, gpus, clique, ready, cordoned: node(
            "x", of=of, used=min(used, gpus), gpus=gpus, clique=clique, ready=ready, cordoned=cordoned
        ),
        st.sampled_from(["gpu", "gpu", "other"]),
        st.sampled_from([0, 0, 1, 4, 8]),
        st.sampled_from([8, 8, 8, 7]),
        st.sampled_from(["", "c.1", "c.2"]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=5,
).map(lambda nodes: [each.model_copy(update={"name": f"n{number}"}) for number, each in enumerate(nodes)])
POOLS = st.tuples(
    st.sampled_from([{"fixed": 5}, {"fixed": 5}, {"max": 3}]),
    st.sampled_from([None, 1.0, 9.0]),
    st.booleans(),
).map(
    lambda drawn: [
        SYSTEM,
        pool("gpu", nodes=drawn[0], price_per_hour=drawn[1], spot=drawn[2]),
        pool("other", price_per_hour=5.0),
    ]
)
GROUPS = st.builds(
    group,
    st.integers(1, 4),
    st.sampled_from([1, 3, 4, 8, 9]),
    topology=st.sampled_from(["any", "nvlink-domain"]),
    spot=st.sampled_from(["allow", "avoid", "prefer"]),
)
WHOLE = st.builds(group, st.integers(1, 3), st.just(8), topology=st.sampled_from(["any", "nvlink-domain"]))
QUARANTINE = st.sampled_from([{}, {}, {"n0": "XID 79"}])
SYS = [system_node()]


def free(nodes: Sequence[NodeView], quarantine: dict[str, str]) -> dict[str, float]:
    """Return the GPUs that work may have, by node, told anew and not by the code under test."""
    return {
        it.name: it.allocatable["nvidia.com/gpu"] - it.used.get("nvidia.com/gpu", 0)
        for it in nodes
        if it.ready and not it.cordoned and it.allocatable["nvidia.com/gpu"] == 8 and it.name not in quarantine
    }


@dataclass
class Oracle:
    """Tries every way. A node that is not there yet is one like any other, in a domain of its own."""

    pools: Sequence[Pool]
    nodes: Sequence[NodeView]
    quarantine: dict[str, str]
    free: dict[str, float] = field(default_factory=dict)
    places: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.free = free(self.nodes, self.quarantine)
        self.places = {it.name: (it.labels["pool"], it.labels.get(CLIQUE) or it.name) for it in self.nodes}
        for each in self.pools:
            there = sum(it.labels["pool"] == each.name for it in self.nodes)
            for number in range((each.spec.nodes.max or 0) - there):
                self.free[f"new {number}"] = 8
                self.places[f"new {number}"] = (each.name, f"new {number}")

    def fits(self, groups: Sequence[WorkerGroup]) -> bool:
        return not groups or any(self.fits(groups[1:]) for _ in self._ways(groups[0], groups[0].scale.want, None))

    def _ways(self, one: WorkerGroup, left: int, within: tuple[str, str] | None) -> Iterator[None]:
        """Put the workers left somewhere in each possible way, for as long as the caller looks."""
        if not left:
            yield None
            return
        for name in list(self.free):
            of, domain = self.places[name]
            spec = next(each.spec for each in self.pools if each.name == of)
            here = (of, domain if one.topology != "any" else "")
            if (
                within in {None, here}
                and self.free[name] >= one.resources.gpus
                and not (spec.spot and one.spot == "avoid")
            ):
                self.free[name] -= one.resources.gpus
                yield from self._ways(one, left - 1, here)
                self.free[name] += one.resources.gpus


def check(
    answers: Sequence[tuple[Ask, Placement | Refusal]],
    pools: Sequence[Pool],
    nodes: Sequence[NodeView],
    ill: dict[str, str],
) -> None:
    """Hold the answers, all together, against the bounds."""
    left = free(nodes, ill)
    places = {it.name: it for it in nodes}
    made: Counter[str] = Counter()
    for asked, answer in answers:
        if isinstance(answer, Refusal):
            continue
        assert answer.head_pool == "system"
        assert len(answer.groups) == len(asked.groups)
        for one, found in zip(asked.groups, answer.groups, strict=True):
            _check_group(one, found, places, left)
            made[found.pool] += found.new_nodes
    assert min(left.values(), default=0) >= 0
    for each in pools:
        there = sum(it.labels["pool"] == each.name for it in nodes)
        assert made[each.name] <= max(0, (each.spec.nodes.max or 0) - there)


def _check_group(one: WorkerGroup, found: GroupPlacement, places: dict[str, NodeView], left: dict[str, float]) -> None:
    there = sum(found.nodes.values())
    per_new = 8 // one.resources.gpus
    assert there + found.new_nodes * per_new >= one.scale.want >= there + found.new_nodes, "all or nothing"
    assert {places[name].labels["pool"] for name in found.nodes} <= {found.pool}
    if one.topology != "any":
        domains = {places[name].labels.get(CLIQUE) or name for name in found.nodes}
        assert len(domains) + found.new_nodes == 1
    for name, workers in found.nodes.items():
        left[name] -= workers * one.resources.gpus  # a KeyError where the node is not well


@given(POOLS, NODES, QUARANTINE, GROUPS)
@settings(max_examples=400, deadline=None)
def test_one_group_is_placed_wherever_there_is_a_way(
    pools: list[Pool], nodes: list[NodeView], ill: dict[str, str], one: WorkerGroup
) -> None:
    asked = ask(one)
    answer = place(asked, pools, [*SYS, *nodes], ill)
    check([(asked, answer)], pools, nodes, ill)
    assert isinstance(answer, Placement) is Oracle(pools[1:], nodes, ill).fits([one])
    if isinstance(answer, Refusal):
        assert {why.pool for why in answer.pools} == {"gpu", "other"}, "a reason for each pool"


@given(POOLS, NODES, QUARANTINE, GROUPS)
@settings(max_examples=200, deadline=None)
def test_the_nearest_shape_that_is_told_would_be_placed(
    pools: list[Pool], nodes: list[NodeView], ill: dict[str, str], one: WorkerGroup
) -> None:
    answer = place(ask(one), pools, [*SYS, *nodes], ill)
    if isinstance(answer, Refusal) and answer.nearest:
        near = answer.nearest
        instead = group(near.workers, near.gpus, topology=near.topology, spot=one.spot)
        assert isinstance(place(ask(instead), pools, [*SYS, *nodes], ill), Placement)


@given(POOLS, NODES, QUARANTINE, st.lists(GROUPS, min_size=2, max_size=3))
@settings(max_examples=200, deadline=None)
def test_groups_are_placed_together_only_where_there_is_a_way(
    pools: list[Pool], nodes: list[NodeView], ill: dict[str, str], groups: list[WorkerGroup]
) -> None:
    asked = ask(*groups)
    answer = place(asked, pools, [*SYS, *nodes], ill)
    check([(asked, answer)], pools, nodes, ill)


@given(POOLS, NODES, st.lists(WHOLE, min_size=2, max_size=2))
@settings(max_examples=200, deadline=None)
def test_groups_of_whole_nodes_are_placed_wherever_there_is_a_way(
    pools: list[Pool], nodes: list[NodeView], groups: list[WorkerGroup]
) -> None:
    answer = place(ask(*groups), pools, [*SYS, *nodes], {})
    assert isinstance(answer, Placement) is Oracle(pools[1:], nodes, {}).fits(groups)


@given(POOLS, NODES, QUARANTINE, st.lists(GROUPS, min_size=2, max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_queue_never_takes_more_than_there_is(
    pools: list[Pool], nodes: list[NodeView], ill: dict[str, str], groups: list[WorkerGroup]
) -> None:
    asks = [ask(one) for one in groups]
    check(list(zip(asks, allot(asks, pools, [*SYS, *nodes], ill), strict=True)), pools, nodes, ill)


@given(
    st.lists(st.sampled_from(["", "c.1", "c.2"]), min_size=3, max_size=5),
    st.integers(2, 3),
    st.sampled_from(["any", "nvlink-domain"]),
    st.lists(st.tuples(st.sampled_from([3, 4, 8]), st.integers(2, 4)), min_size=2, max_size=4),
)
@example(["", "", ""], 3, "any", [(8, 2), (8, 3)])
@settings(max_examples=60, deadline=None)
def test_a_large_gang_is_not_starved_by_a_stream_of_small_ones(
    cliques: list[str], want: int, topology: str, others: list[tuple[int, int]]
) -> None:
    """More always comes than fits, and each that runs ends at another time: all at once is never free by itself."""
    pools = [SYSTEM, pool("gpu", nodes={"fixed": len(cliques)})]
    idle = [node(f"n{number}", clique=clique) for number, clique in enumerate(cliques)]
    large = ask(group(want, topology=topology))
    if isinstance(place(large, pools, [*SYS, *idle], {}), Refusal):
        return
    stream = cycle(others)
    running: list[tuple[int, Placement, float]] = []
    # At first the others fill all. From then on it is first in line, and each node of its domain must come free once.
    for turn in range(4 * (len(cliques) + 2)):
        running = [it for it in running if it[0] > turn]
        small = [next(stream) for _ in range(6)]
        first = [large] if turn >= 2 else []
        asks = [*first, *(ask(group(1, gpus)) for gpus, _ in small)]
        answers = allot(asks, pools, [*SYS, *_occupied(idle, running)], {})
        if first and isinstance(answers[0], Placement):
            return
        started = zip(small, answers[len(first) :], strict=True)
        running += [(turn + lasts, it, gpus) for (gpus, lasts), it in started if isinstance(it, Placement)]
    raise AssertionError("the large gang never had its turn")


def _occupied(idle: Sequence[NodeView], running: Sequence[tuple[int, Placement, float]]) -> list[NodeView]:
    used: defaultdict[str, float] = defaultdict(float)
    for _, placement, gpus in running:
        for name, workers in placement.groups[0].nodes.items():
            used[name] += workers * gpus
    return [it.model_copy(update={"used": {"nvidia.com/gpu": used[it.name]}}) for it in idle]
