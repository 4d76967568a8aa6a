"""Where a gang goes: all of its workers or none, in the cheapest pool that has room, whole inside a domain if asked.

Each group of a job is a gang of its own; a job starts where all its gangs and its head find room together. Exact for
one group: it finds room wherever there is any. Groups that share nodes are packed largest worker first, which may miss
a packing that a long search would find.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from raysvc.control.yard import Domain, Room, Slot
from raysvc.domain.node import Amounts
from raysvc.domain.placement import Ask, Misfit, WhyNot
from raysvc.domain.resources import Resources, Spot, Topology

# How many ways to put several groups together are tried: more than any sensible job has, and some milliseconds of it.
_MOST_TRIES = 200


class Crew(NamedTuple):
    """Equal workers that start together, or the head alone. `number` is the group's place in the ask."""

    number: int
    name: str
    want: int
    each: Resources
    project: str
    accelerator: str | None = None
    topology: Topology = "any"
    spot: Spot = "allow"
    head: bool = False


class Seat(NamedTuple):
    """A crew's place: how many of it each slot takes."""

    crew: Crew
    room: Room
    domain: str | None
    slots: Sequence[tuple[Slot, int]]
    need: Amounts
    most: int
    """How many would find room there."""

    def take(self, times: int = 1) -> None:
        for slot, count in self.slots:
            slot.take(self.need, times * count)
        self.room.changed()


def crews(ask: Ask) -> list[Crew]:
    """Return the gangs of an ask, the most demanding first and the head last."""
    found = [
        Crew(number, it.name, it.scale.want, it.resources, ask.project, it.accelerator, it.topology, it.spot)
        for number, it in enumerate(ask.groups)
    ]
    found.sort(key=lambda crew: (crew.topology == "any", -crew.each.gpus, -crew.each.cpus, -crew.each.memory))
    return [*found, Crew(len(ask.groups), "head", 1, ask.head, ask.project, head=True)]


def unsuited(crew: Crew, room: Room) -> WhyNot | None:
    """Return why the pool is not for the crew, whatever it has free; None where it is."""
    spec, accelerator = room.spec, room.spec.accelerator
    if crew.head:
        return None if spec.node_class == "system" else WhyNot(pool=room.name, code=Misfit.SYSTEM, message=_USER)
    if spec.node_class == "system":
        return WhyNot(pool=room.name, code=Misfit.SYSTEM, message=_SYSTEM)
    if crew.each.gpus or crew.accelerator:
        wanted = crew.accelerator or "whole GPUs"
        if accelerator is None or not accelerator.meets(crew.accelerator):
            has = accelerator.full if accelerator else "no accelerator"
            message = f"has {has}, and {wanted} is asked for"
            return WhyNot(pool=room.name, code=Misfit.ACCELERATOR, message=message)
    if spec.spot and crew.spot == "avoid":
        return WhyNot(pool=room.name, code=Misfit.SPOT, message="its nodes are spot nodes, which are to be avoided")
    return None


_USER = "is for workers; heads need a pool with `node_class: system`"
_SYSTEM = "is for Ray heads and the platform, never for workers"


def seat(asked: Sequence[Crew], rooms: Sequence[Room]) -> list[Seat] | None:
    """Return a place for each crew, taken; None where they do not fit together, and then nothing is taken."""
    tries = [_MOST_TRIES]
    return _seat(asked, rooms, tries)


def _seat(asked: Sequence[Crew], rooms: Sequence[Room], tries: list[int]) -> list[Seat] | None:
    if not asked:
        return []
    for found in places(asked[0], rooms):
        tries[0] -= 1
        if tries[0] < 0:
            return None
        found.take()
        rest = _seat(asked[1:], rooms, tries)
        if rest is not None:
            return [found, *rest]
        found.take(-1)
    return None


def places(crew: Crew, rooms: Sequence[Room]) -> Iterator[Seat]:
    """Yield where the whole crew would fit now, the best place first."""
    for room in by_preference(crew, rooms):
        need = room.spec.needs(crew.each)
        counts = room.counts(need)
        if not crew.want and not any(slot.holds(need) for slot in room.slots):
            continue  # it starts with no worker, and must be able to grow
        fitting = [
            (total, domain) for domain in room.domains(crew.topology) if (total := _sum(domain, counts)) >= crew.want
        ]
        # The fullest domain that holds it, so that the roomier ones stay whole for larger gangs; the roomiest for one
        # that starts with no worker, and is to grow.
        fitting.sort(key=lambda each: (each[0] if crew.want else -each[0], each[1].name or ""))
        for total, domain in fitting:
            yield Seat(crew, room, domain.name, _pick(room, domain, counts, crew.want), need, total)


def by_preference(crew: Crew, rooms: Sequence[Room]) -> list[Room]:
    """Return the pools that are for the crew: on demand before spot unless it prefers that, the cheapest first."""
    suited = [room for room in rooms if room.spec.serves(crew.project) and unsuited(crew, room) is None]
    if len(suited) > 1:
        suited.sort(key=lambda room: _rank(crew, room))
    return suited


def _rank(crew: Crew, room: Room) -> tuple[bool, bool, float, str]:
    spec = room.spec
    sample = room.slots[0].has if room.slots else spec.amounts()
    need = spec.needs(crew.each)
    workers = min((sample.get(name, 0) // amount for name, amount in need.items()), default=1) or 1
    # Workers that need no GPU leave nodes with GPUs to those who do.
    wasted = spec.accelerator is not None and not crew.each.gpus
    return wasted, spec.spot is not (crew.spot == "prefer"), (spec.price_per_hour or 0) / workers, room.name


def later(crew: Crew, room: Room, chosen: Room) -> str:
    """Return why a pool that would do comes after the one that was chosen."""
    mine, its = _rank(crew, room), _rank(crew, chosen)
    if mine[0] != its[0]:
        return f"would do, but its {room.spec.accelerator.full if room.spec.accelerator else 'node'}s are for GPU work"
    if mine[1] != its[1]:
        return f"would do, but its nodes are {'' if room.spec.spot else 'not '}spot nodes, and {chosen.name}'s had room"
    return f"would do, but {chosen.name} is {'cheaper' if mine[2] > its[2] else 'as good'} and had room"


def _sum(domain: Domain, counts: dict[Slot, int]) -> int:
    return sum(counts[slot] for slot in domain.slots)


def _pick(room: Room, domain: Domain, counts: dict[Slot, int], want: int) -> list[tuple[Slot, int]]:
    """Return few slots that hold the crew: the emptiest first, the last the tightest that holds the rest."""
    crowd = _crowd(room, domain, counts)
    there = sorted(
        (counts[slot], crowd.get(slot, 0), slot.name, slot) for slot in domain.slots if slot.node and counts[slot]
    )
    picked: list[tuple[Slot, int]] = []
    while want and there:
        at = bisect_left(there, min(want, there[-1][0]), key=lambda each: each[0])
        count, _, _, slot = there.pop(at)
        picked.append((slot, min(count, want)))
        want -= picked[-1][1]
    for slot in domain.slots:  # nodes that are not there yet come last
        if not want:
            break
        if slot.node is None and counts[slot]:
            picked.append((slot, min(counts[slot], want)))
            want -= picked[-1][1]
    return picked


def _crowd(room: Room, domain: Domain, counts: dict[Slot, int]) -> dict[Slot, int]:
    """Return how much room there is around each slot: of equal ones, that in the fuller NVLink domain is taken."""
    if domain.name is not None:
        return {}
    around: defaultdict[str, int] = defaultdict(int)
    key = room.spec.topology.nvlink_domain
    labels = {slot: label for slot in domain.slots if slot.node and (label := slot.node.labels.get(key))}
    for slot, label in labels.items():
        around[label] += counts[slot]
    return {slot: around[label] for slot, label in labels.items()}


def hold(asked: Sequence[Crew], rooms: Sequence[Room]) -> None:
    """Keep for a job that must wait what it waits for, so that those behind it cannot starve it.

    For each crew the domain is kept that lacks the fewest workers of it: all that is free there, and on its first nodes
    by name, up to the whole of it, all that becomes free. What is kept only grows, and so the crew's turn comes when
    what runs there has ended. Keeps nothing where it would not fit even on idle nodes.
    """
    promised: dict[Slot, Amounts] = {}
    for crew in asked:
        found = _least_lacking(crew, rooms, promised)
        if found is None:
            continue
        room, need, shares = found
        for slot, count in shares:
            slot.keep(need, count)
            mine = promised.setdefault(slot, {})
            for name, amount in need.items():
                mine[name] = mine.get(name, 0) + count * amount
        room.changed()


def _least_lacking(
    crew: Crew, rooms: Sequence[Room], promised: dict[Slot, Amounts]
) -> tuple[Room, Amounts, list[tuple[Slot, int]]] | None:
    best: tuple[int, Room, Amounts, list[tuple[Slot, int]]] | None = None
    for room in by_preference(crew, rooms):
        need = room.spec.needs(crew.each)
        for domain in sorted(room.domains(crew.topology), key=lambda each: each.name or ""):
            now = {slot: room.counts(need)[slot] for slot in domain.slots}
            idle = {slot: Slot(slot.name, slot.has, promised.get(slot, {}), None).room(need) for slot in domain.slots}
            lacking = max(0, crew.want - sum(now.values()))
            if sum(idle.values()) >= crew.want and (best is None or lacking < best[0]):
                best = lacking, room, need, _shares(crew.want, now, idle)
    return best and best[1:]


def _shares(want: int, now: dict[Slot, int], idle: dict[Slot, int]) -> list[tuple[Slot, int]]:
    """Return how many workers each slot is to hold: those it has room for now, and the rest on the first by name."""
    shares = {}
    for slot, count in now.items():
        shares[slot] = min(count, want)
        want -= shares[slot]
    for slot in sorted(now, key=lambda slot: slot.name):
        more = min(max(0, idle[slot] - shares[slot]), want)
        shares[slot] += more
        want -= more
    return [(slot, count) for slot, count in shares.items() if count]
