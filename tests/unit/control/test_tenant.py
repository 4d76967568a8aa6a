"""What was promised stays promised, whichever of its pods are there already: nothing is given twice or kept twice."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from raysvc.control.place import Plot
from raysvc.domain.node import NodeView
from raysvc.domain.placement import Ask, Placement
from raysvc.domain.query import Occupied

from .ground import ask, group, node, pool, system_node, system_pool

GPU = "nvidia.com/gpu"
POOLS = [system_pool(nodes={"max": 2}), pool("gpu", nodes={"max": 4})]
ASKS = st.lists(st.builds(lambda want, gpus: ask(group(want, gpus)), st.integers(1, 3), st.sampled_from([1, 3, 4, 8])))


def seen(nodes: Sequence[NodeView], there: Sequence[Occupied]) -> list[NodeView]:
    """Return the nodes once these attempts' pods are on them, as they were promised."""
    found = []
    for each in nodes:
        tenants = {
            it.attempt: {GPU: it.ask.groups[0].resources.gpus * count}
            for it in there
            if (count := it.placement.groups[0].nodes.get(each.name, 0))
        }
        used = sum(amounts[GPU] for amounts in tenants.values())
        found.append(each.model_copy(update={"tenants": tenants, "used": {GPU: used}}))
    return found


@given(ASKS, st.data())
def test_pass_by_pass_no_node_is_ever_promised_more_than_it_has(asks: list[Ask], data: st.DataObject) -> None:
    nodes = [system_node(), *(node(name) for name in "abc")]
    once = Plot(POOLS, nodes, {})
    occupied: list[Occupied] = []
    for number, asked in enumerate(asks):
        there = [it for it in occupied if data.draw(st.booleans(), label=f"{it.attempt} has its pods")]
        found = Plot(POOLS, seen(nodes, there), {}, occupied).fit(asked)
        assert found == once.fit(asked), "as if all had been placed in one pass"
        if found is not None:
            occupied.append(Occupied(attempt=f"job-{number}-1", ask=asked, placement=found))
    promised = Counter[str]()
    for it in occupied:
        for name, count in it.placement.groups[0].nodes.items():
            promised[name] += count * int(it.ask.groups[0].resources.gpus)
    assert all(amount <= 8 for amount in promised.values())


def test_a_new_node_that_came_is_whose_pods_are_on_it() -> None:
    grows = [system_pool(), pool("gpu", nodes={"max": 2})]
    asked = ask(group(1))
    first = Plot(grows, [system_node()], {}).fit(asked)
    assert isinstance(first, Placement)
    assert first.groups[0].new_nodes == 1
    mine = [Occupied(attempt="job-0-1", ask=asked, placement=first)]
    second = Plot(grows, [system_node()], {}, mine).fit(asked)
    assert second is not None, "there may be one node more"
    both = [*mine, Occupied(attempt="job-1-1", ask=asked, placement=second)]
    assert Plot(grows, [system_node()], {}, both).fit(asked) is None
    came = node("new", used=8, tenants={"job-0-1": {GPU: 8.0, "cpu": 1.0}})
    assert Plot(grows, [system_node(), came], {}, both).fit(asked) is None
    assert Plot(grows, [system_node(), came], {}, mine).fit(asked) is not None


def test_pods_of_an_attempt_that_is_no_longer_placed_are_counted_until_they_are_gone() -> None:
    pools = [system_pool(), pool("gpu", nodes={"fixed": 1})]
    left = node("a", used=8, tenants={"job-0-1": {GPU: 8.0}})
    assert Plot(pools, [system_node(), left], {}).fit(ask(group(1))) is None
