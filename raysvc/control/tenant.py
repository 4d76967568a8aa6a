"""What placed attempts were promised and their pods do not have yet: it is theirs all the same. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from raysvc.control.yard import Room, Slot
from raysvc.domain.node import Amounts, NodeView
from raysvc.domain.query import Occupied

Due = dict[Slot, Counter[str]]


def settle(rooms: Sequence[Room], nodes: Iterable[NodeView], occupied: Iterable[Occupied]) -> None:
    """Take from the rooms what each attempt still has to get.

    A pod that came to another node of its pool than was thought has what it was promised: nothing is taken twice.
    """
    promised = list(occupied)
    if not promised:
        return
    by_name = {room.name: room for room in rooms}
    homes: dict[str, list[NodeView]] = {}
    for node in nodes:
        for attempt in node.tenants:
            homes.setdefault(attempt, []).append(node)
    for it in promised:
        due = _due(it, by_name)
        _less(due, it.attempt, homes.get(it.attempt, ()))
        for slot, amounts in due.items():
            slot.take(dict(amounts), 1)
    for room in rooms:
        room.changed()


def _due(it: Occupied, rooms: dict[str, Room]) -> Due:
    """Return what was promised on each slot; on nodes that were to be made, on the first of those that still are."""
    due: Due = {}
    asked = {group.name: group for group in it.ask.groups}
    parts = [(found.pool, found.nodes, asked.get(found.group)) for found in it.placement.groups]
    for pool, named, group in parts:
        if group is not None and pool in rooms:
            need = rooms[pool].spec.needs(group.resources)
            _add(due, rooms[pool], need, named, group.scale.want - sum(named.values()))
    head = rooms.get(it.placement.head_pool)
    if head is not None:
        node = it.placement.head_node
        _add(due, head, head.spec.needs(it.ask.head), {node: 1} if node else {}, 0 if node else 1)
    return due


def _add(due: Due, room: Room, need: Amounts, named: dict[str, int], unnamed: int) -> None:
    slots = [(slot, named[slot.name]) for slot in room.slots if slot.node and slot.name in named]
    for slot, count in (*slots, *_new(room, need, unnamed)):
        due.setdefault(slot, Counter()).update({name: count * amount for name, amount in need.items()})


def _new(room: Room, need: Amounts, count: int) -> Iterator[tuple[Slot, int]]:
    for slot in room.slots:
        if count <= 0:
            return
        if slot.node is None and (most := min(count, slot.room(need))):
            yield slot, most
            count -= most


def _less(due: Due, attempt: str, homes: Iterable[NodeView]) -> None:
    """Take off what its pods have: first what they have where it was promised, then the rest of it anywhere."""
    has = {node.name: Counter(node.tenants[attempt]) for node in homes}
    for slot, amounts in due.items():
        if slot.node and slot.name in has:
            _cut(amounts, has[slot.name])
    rest: Counter[str] = Counter()
    for amounts in has.values():
        rest.update(amounts)
    for amounts in due.values():
        _cut(amounts, rest)


def _cut(amounts: Counter[str], has: Counter[str]) -> None:
    for name in amounts:
        less = min(amounts[name], has[name])
        amounts[name] -= less
        has[name] -= less
