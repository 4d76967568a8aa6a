"""Why a pool cannot take a gang, in words for the person who waits, and the nearest to it that would fit."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf

from raysvc.control.gang import Crew, by_preference, places, unsuited
from raysvc.control.yard import Room, Slot
from raysvc.domain.node import Amounts
from raysvc.domain.placement import Misfit, Nearest, WhyNot

_PLACES = {"rack": "rack", "nvlink-domain": "NVLink domain"}
# Nodes that are named one by one.
_MOST_NAMED = 3


def why_not(crew: Crew, room: Room) -> WhyNot:
    """Return why the crew is not placed there; for a pool where it would be, that it is not the pool that fails."""
    return unsuited(crew, room) or _too_small(crew, room) or _too_little(crew, room)


def _too_small(crew: Crew, room: Room) -> WhyNot | None:
    """Return what one worker has too much of for any node."""
    known = [slot.has for slot in room.slots] + [node.allocatable for node, _, _ in room.aside]
    if not known:
        if room.spec.nodes.fixed is None:
            known = [room.spec.amounts()]
        else:
            message = f"none of its {room.spec.nodes.fixed} nodes is there: no node has its labels"
            return WhyNot(pool=room.name, code=Misfit.NO_NODES, message=message)
    need = room.spec.needs(crew.each)
    if any(Slot("", has, {}, None).room(need) for has in known):
        return None
    most = {name: max(has.get(name, 0) for has in known) for name in need}
    over = [f"{_amount(name, need[name])}, and a node has {_amount(name, most[name])}" for name in need]
    short = [text for text, name in zip(over, need, strict=True) if most[name] < need[name]] or over
    message = f"a {_one(crew)} asks for {'; '.join(short)}"
    return WhyNot(pool=room.name, code=Misfit.NODE_TOO_SMALL, message=message)


def _too_little(crew: Crew, room: Room) -> WhyNot:
    need = room.spec.needs(crew.each)
    total = sum(room.counts(need).values())
    idle = sum(slot.holds(need) for slot in room.slots)
    if idle >= crew.want and crew.topology != "any":
        apart = _apart(crew, room, need, total)
        if apart is not None:
            return WhyNot(pool=room.name, code=Misfit.DOMAIN, message=apart)
    reasons = [f"room for {idle - total} more is taken"] if idle > total else []
    reasons += _said(room)
    missing = (room.spec.nodes.fixed or 0) - room.nodes
    if missing > 0:
        reasons.append(f"{missing} of its {room.spec.nodes.fixed} nodes are not there")
    if room.spec.nodes.max:
        reasons.append(f"it grows to {room.spec.nodes.max} nodes at most")
    because = f" ({'; '.join(reasons)})" if reasons else ""
    message = (
        f"has room for {total} of {crew.want} {_one(crew)}s now{because}" if crew.want > 1 else f"is full{because}"
    )
    return WhyNot(pool=room.name, code=_code(room, need, idle, crew.want), message=message)


def _apart(crew: Crew, room: Room, need: Amounts, total: int) -> str | None:
    """Return what is said where there is room, but not together; None where there is simply none now."""
    place, domains = _PLACES[crew.topology], list(room.domains(crew.topology))
    holds = {it.name: sum(slot.holds(need) for slot in it.slots) for it in domains}
    counts = room.counts(need)
    rooms = {it.name: sum(counts[slot] for slot in it.slots) for it in domains}
    largest, roomiest = max(holds, key=holds.__getitem__), max(rooms, key=rooms.__getitem__)
    if holds[largest] < crew.want:
        said = f"no {place} is large enough for all {crew.want}: the largest, {largest}, holds {holds[largest]}"
    elif total >= crew.want:
        said = f"no {place} has room for all {crew.want}: the roomiest, {roomiest}, has room for {rooms[roomiest]}"
    else:
        return None
    if any(slot.node is None for slot in room.slots):
        said += f"; where a new node will lie is not known before it is there, so no {place} is promised on them"
    return said


def _code(room: Room, need: Amounts, idle: int, want: int) -> Misfit:
    """Return what, if it were mended, would make room; more nodes, where nothing would."""
    if idle >= want:
        return Misfit.BUSY
    aside = Counter[Misfit]()
    for node, code, _ in room.aside:
        aside[code] += Slot("", node.allocatable, {}, None).room(need) or 1
    if aside and idle + aside.total() >= want:
        return aside.most_common(1)[0][0]
    return Misfit.TOO_FEW_NODES


def _said(room: Room) -> list[str]:
    """Return the nodes that stand aside, alike ones together."""
    alike: dict[tuple[Misfit, str], list[str]] = {}
    for node, code, text in room.aside:
        alike.setdefault((code, text), []).append(node.name)
    found = []
    for (code, text), names in sorted(alike.items()):
        shown = ", ".join(sorted(names)[:_MOST_NAMED]) + (
            f" and {len(names) - _MOST_NAMED} more" if names[_MOST_NAMED:] else ""
        )
        word = code.lower()
        found.append(f"{shown} {word}: {text}" if text != word else f"{shown} {word}")
    return found


def nearest(crew: Crew, rooms: Sequence[Room]) -> Nearest | None:
    """Return the nearest that would fit now: the same elsewhere than in one domain, fewer workers, or smaller ones."""
    if crew.head or not crew.want:
        return None
    if crew.topology != "any":
        free = crew._replace(topology="any")
        found = next(places(free, rooms), None)
        if found is not None:
            return _nearest(free, found.room, f"all {crew.want} would fit without `topology: {crew.topology}`")
    for smaller in (crew, *_halved(crew)):
        room, count = _most(smaller, by_preference(smaller, rooms))
        if room is not None:
            fewer = smaller._replace(want=min(count, smaller.want))
            return _nearest(fewer, room, f"{fewer.want} {_one(fewer)}{_s(fewer.want)}{_each(fewer)} would fit now")
    return None


def _halved(crew: Crew) -> Iterable[Crew]:
    """Yield the same amount in more and smaller workers, as long as they are whole."""
    gpus, want, each = crew.each.gpus, crew.want, crew.each
    while gpus >= 2 and gpus % 2 == 0:  # noqa: PLR2004 halves of at least one
        gpus, want = gpus / 2, want * 2
        each = each.model_copy(update={"gpus": gpus, "cpus": each.cpus / 2, "memory": each.memory // 2})
        yield crew._replace(want=want, each=each)


def _most(crew: Crew, rooms: Iterable[Room]) -> tuple[Room | None, int]:
    best: tuple[Room | None, int] = (None, 0)
    for room in rooms:
        counts = room.counts(room.spec.needs(crew.each))
        fits = max((sum(counts[slot] for slot in it.slots) for it in room.domains(crew.topology)), default=0)
        if fits > best[1]:
            best = room, fits
    return best


def _nearest(crew: Crew, room: Room, message: str) -> Nearest:
    return Nearest(
        pool=room.name,
        workers=crew.want,
        gpus=crew.each.gpus,
        topology=crew.topology,
        message=f"{message}, on {room.name}",
    )


def _one(crew: Crew) -> str:
    return "head" if crew.head else "worker"


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def _each(crew: Crew) -> str:
    return f" of {crew.each.gpus:g} GPUs" if crew.each.gpus else ""


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return "any memory" if amount == inf else f"{amount / (1 << 30):.1f} GiB of memory"
    return f"{amount:g} {'CPUs' if name == 'cpu' else name}"
