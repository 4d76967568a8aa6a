"""What nodes of the pools have free, as gangs are placed one by one. Lives for a decision, or a pass over a queue."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from raysvc.domain.node import Amounts, Marks, NodeView
from raysvc.domain.placement import Misfit
from raysvc.domain.pool import Pool, PoolSpec
from raysvc.domain.resources import Topology

# Of amounts that are sums of floats.
_SLACK = 1e-9


class Domain(NamedTuple):
    """Slots that lie together, for one topology. `name` None: the whole pool."""

    name: str | None
    slots: Sequence["Slot"]


class Slot:
    """A node that takes work, and what of it is left. `node` None: one of those that the pool may still make."""

    __slots__ = ("has", "links", "name", "node", "taken", "used")

    def __init__(self, name: str, has: Mapping[str, float], used: Mapping[str, float], node: NodeView | None) -> None:
        self.name = name
        self.has = has
        self.used = used
        self.node = node
        self.taken: Amounts = {}

    def room(self, need: Amounts) -> int:
        """Return how many workers with this need find room."""
        most: float = _MOST
        has, used, taken = self.has, self.used, self.taken
        for name, amount in need.items():
            free = has.get(name, 0) - used.get(name, 0)
            if taken:
                free -= taken.get(name, 0)
            count = (free + _SLACK) // amount
            if count < most:
                if count < 1:
                    return 0
                most = count
        return int(most)

    def holds(self, need: Amounts) -> int:
        """Return how many would find room were it empty."""
        return Slot(self.name, self.has, {}, self.node).room(need)

    def take(self, need: Amounts, times: int) -> None:
        """Let workers take their part; negative `times` gives it back."""
        for name, amount in need.items():
            self.taken[name] = self.taken.get(name, 0) + times * amount

    def keep(self, need: Amounts, times: int) -> None:
        """Let nobody else take what these workers wait for, as far as it is free."""
        for name, amount in need.items():
            taken = self.taken.get(name, 0)
            free = self.has.get(name, 0) - self.used.get(name, 0) - taken
            self.taken[name] = taken + max(0.0, min(free, times * amount))


# A worker that asks for nothing fits any number of times.
_MOST = 1 << 20


class Room:
    """A pool: its slots, the nodes that stand aside and why, and the nodes that it may still make."""

    def __init__(self, name: str, spec: PoolSpec) -> None:
        self.name = name
        self.spec = spec
        self.slots: list[Slot] = []
        self.aside: list[tuple[NodeView, Misfit, str]] = []
        self._judge = _Judge(spec)
        self._counts: dict[tuple[tuple[str, float], ...], dict[Slot, int]] = {}

    @property
    def nodes(self) -> int:
        """How many nodes are there."""
        return len(self.aside) + sum(slot.node is not None for slot in self.slots)

    def admit(self, node: NodeView, quarantined: str | None) -> None:
        """Take a node of the pool in."""
        if quarantined is not None:
            self.aside.append((node, Misfit.QUARANTINED, quarantined))
            return
        why = self._judge.now(node) or self._judge.lasting(node)
        if why is None:
            self.slots.append(Slot(node.name, node.allocatable, node.used, node))
        else:
            self.aside.append((node, *why))

    def counts(self, need: Amounts) -> dict[Slot, int]:
        """Return how many workers with this need each slot has room for."""
        key = tuple(need.items())
        if key not in self._counts:
            self._counts[key] = {slot: slot.room(need) for slot in self.slots}
        return self._counts[key]

    def changed(self) -> None:
        """Say that something was taken, or given back: what was counted is no longer true."""
        self._counts.clear()

    def grow(self, most: int) -> None:
        """Add the nodes that may still be made, up to `most` of them all."""
        has = self.spec.amounts()
        self.slots += [Slot(f"new {number + 1}", has, {}, None) for number in range(most - self.nodes)]

    def ideal(self) -> "Room":
        """Return the pool as it will be once all of its nodes are there, free and well."""
        room = Room(self.name, self.spec)
        said = self.spec.amounts()
        nodes = [slot.node for slot in self.slots if slot.node] + [node for node, _, _ in self.aside]
        for node in nodes:
            why = self._judge.lasting(node)
            if why is None:
                has = {**said, **node.allocatable}
                for resource, count in self._judge.devices:  # of which none will be broken
                    has[resource] = max(has[resource], count)
                room.slots.append(Slot(node.name, has, {}, node))
            else:
                room.aside.append((node, *why))
        room.grow(self.spec.nodes.most)
        return room

    def domains(self, topology: Topology) -> Iterator[Domain]:
        """Yield the domains of a topology. A node without its label, and one not made yet, is one by itself."""
        key = self.spec.topology.rack if topology == "rack" else self.spec.topology.nvlink_domain
        if topology == "any":
            yield Domain(None, self.slots)
            return
        found: defaultdict[str, list[Slot]] = defaultdict(list)
        for slot in self.slots:
            label = slot.node.labels.get(key) if slot.node and key else None
            if label is None:
                yield Domain(slot.name, [slot])
            else:
                found[label].append(slot)
        yield from (Domain(name, slots) for name, slots in found.items())


Verdict = tuple[Misfit, str] | None


class _Judge:
    """Says which nodes of a pool stand aside. What many nodes have alike (taints, versions) is looked into once."""

    def __init__(self, spec: PoolSpec) -> None:
        self._spec = spec
        self.devices = spec.devices()
        self._known: dict[Marks, Verdict] = {}

    def now(self, node: NodeView) -> Verdict:
        """Return what keeps work away until somebody, or time, mends it."""
        trouble = node.trouble
        if trouble:
            return Misfit.UNHEALTHY, trouble
        if node.cordoned:
            return Misfit.CORDONED, "cordoned"
        for resource, count in self.devices:
            has = node.allocatable.get(resource, 0)
            if has < count:  # a GPU less is one that broke
                return Misfit.UNHEALTHY, f"has {has:g} of {count} {resource}"
        return None

    def lasting(self, node: NodeView) -> Verdict:
        """Return what keeps work away until the node, or the pool's declaration, is changed."""
        marks = node.marks
        if marks not in self._known:
            self._known[marks] = self._look(node)
        return self._known[marks]

    def _look(self, node: NodeView) -> Verdict:
        for taint in node.taints:
            # Kubernetes' own taints repeat what conditions and `cordoned` say.
            soft = taint.effect == "PreferNoSchedule" or taint.key.startswith("node.kubernetes.io/")
            if not (soft or self._spec.tolerates(taint)):
                return Misfit.TAINTED, f"its taint {taint} is not tolerated"
        product, accelerator = node.product, self._spec.accelerator
        if product and accelerator and product not in accelerator.labels:
            return Misfit.ACCELERATOR, f"has {product}, which is none of {', '.join(accelerator.labels)}"
        if self._spec.os.on_drift == "exclude":
            drift = self._spec.os.drift(node.os)
            if drift:
                return Misfit.DRIFTED, "; ".join(drift)
        return None


def survey(pools: Iterable[Pool], nodes: Iterable[NodeView], quarantine: Mapping[str, str]) -> list[Room]:
    """Return the pools with their nodes, as they are now."""
    # The most specific first: should a node be of two pools after all, it is of that one.
    ordered = sorted(pools, key=lambda pool: (-len(pool.spec.selector), pool.name))
    rooms = [Room(pool.name, pool.spec) for pool in ordered]
    selectors = [(room, [*room.spec.selector.items()]) for room in rooms]
    for node in nodes:
        labels = node.labels
        for room, selector in selectors:
            for key, value in selector:
                if labels.get(key) != value:
                    break
            else:
                room.admit(node, quarantine.get(node.name))
                break
    for room in rooms:
        room.grow(room.spec.nodes.max or 0)
    return rooms
