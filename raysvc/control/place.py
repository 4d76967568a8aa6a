"""Which pool and which nodes a job's workers and head get, decided before any pod is made. Pure.

All or nothing, on nodes that are well, free and of one pool for each group; workers never on system nodes, heads only
there. Of the pools that fit, the cheapest; of the domains, the fullest that holds the gang.
"""

from collections.abc import Iterable, Mapping, Sequence

from raysvc.control.gang import Crew, Seat, crews, hold, later, places, seat
from raysvc.control.misfit import nearest, why_not
from raysvc.control.tenant import settle
from raysvc.control.yard import Room, survey
from raysvc.domain.node import NodeView
from raysvc.domain.placement import Ask, GroupPlacement, Misfit, Placement, Refusal, WhyNot
from raysvc.domain.pool import Pool
from raysvc.domain.query import Occupied


class Plot:
    """The pools and nodes for one pass over a queue: what one job takes, the next one lacks.

    `quarantine`: node -> why it is there. `occupied`: attempts some of whose pods may not be there yet.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        nodes: Sequence[NodeView],
        quarantine: Mapping[str, str],
        occupied: Iterable[Occupied] = (),
    ) -> None:
        self._rooms = survey(pools, nodes, quarantine)
        self._idle: list[Room] | None = None
        self._first = True
        settle(self._rooms, nodes, occupied)

    def fit(self, ask: Ask) -> Placement | None:
        """Return where all of it goes, taken from those that come after; None where it does not fit now."""
        seats = seat(crews(ask), self._rooms)
        return None if seats is None else _placement(seats, self._serving(ask))

    def place(self, ask: Ask) -> Placement | Refusal:
        """Return where all of it goes, taken from those that come after, or why each pool cannot take it."""
        placed = self.fit(ask)
        return placed or _refusal(crews(ask), self._serving(ask), ever=self._ever(ask))

    def hold(self, ask: Ask) -> None:
        """Keep for one that has to wait its place (`gang.hold`): large gangs are not starved by small ones.

        For its head only if it is the first that waits: else many that wait for GPUs would keep the system nodes from
        those that want nothing but a head. Each becomes the first in its turn.
        """
        hold([crew for crew in crews(ask) if self._first or not crew.head], self._rooms)
        self._first = False

    def _serving(self, ask: Ask) -> list[Room]:
        return [room for room in self._rooms if room.spec.serves(ask.project)]

    def _ever(self, ask: Ask) -> bool:
        if self._idle is None:
            self._idle = [room.ideal() for room in self._rooms]
        seats = seat(crews(ask), self._idle)
        for found in seats or ():
            found.take(-1)
        return seats is not None


def place(
    ask: Ask, pools: Sequence[Pool], nodes: Sequence[NodeView], quarantine: Mapping[str, str]
) -> Placement | Refusal:
    """Return where all of it goes, or why each pool cannot take it. `quarantine`: node -> why it is there."""
    return Plot(pools, nodes, quarantine).place(ask)


def allot(
    asks: Sequence[Ask], pools: Sequence[Pool], nodes: Sequence[NodeView], quarantine: Mapping[str, str]
) -> list[Placement | Refusal]:
    """Return an answer for each, in the order in which they may start: each takes its place from those behind it.

    One that has to wait keeps its place. One that would not fit even on idle nodes keeps nothing.
    """
    plot = Plot(pools, nodes, quarantine)
    answers = []
    for ask in asks:
        answer = plot.place(ask)
        if isinstance(answer, Refusal) and answer.ever:
            plot.hold(ask)
        answers.append(answer)
    return answers


def _placement(seats: Sequence[Seat], rooms: Sequence[Room]) -> Placement:
    head = seats[-1]
    (slot, _), *_rest = head.slots
    workers = sorted(seats[:-1], key=lambda seat: seat.crew.number)
    # A project sees no other project's name by where it runs.
    pools = {it.room.name: it.room.spec.model_copy(update={"projects": ()}) for it in seats}
    return Placement(
        groups=tuple(map(_group, workers)),
        head_pool=head.room.name,
        head_node=slot.name if slot.node else None,
        pools=pools,
        others=tuple(_others(seats[0], rooms, pools.keys())) if workers else (),
    )


def _group(found: Seat) -> GroupPlacement:
    there = {slot.name: count for slot, count in found.slots if slot.node}
    new = sum(slot.node is None for slot, _ in found.slots)
    domain = None if new else found.domain
    return GroupPlacement(
        group=found.crew.name, pool=found.room.name, nodes=there, new_nodes=new, domain=domain, most=found.most
    )


def _others(found: Seat, rooms: Sequence[Room], used: Iterable[str]) -> Iterable[WhyNot]:
    """Yield why the first gang is in none of the other pools."""
    for room in rooms:
        if room.name in used or room.spec.node_class == "system":
            continue
        if next(places(found.crew, [room]), None) is None:
            yield why_not(found.crew, room)
        else:
            message = later(found.crew, room, found.room)
            yield WhyNot(pool=room.name, code=Misfit.LATER, message=message)


def _refusal(asked: Sequence[Crew], rooms: Sequence[Room], *, ever: bool) -> Refusal:
    """Name the first crew that fits nowhere even by itself."""
    alone = next((crew for crew in asked if next(places(crew, rooms), None) is None), None)
    if alone is None:
        message = "Its groups fit one by one, but not all of them together with what is free now."
        return Refusal(message=message, group=None, ever=ever)
    if alone.head:
        system = [room for room in rooms if room.spec.node_class == "system"]
        if not system:
            message = "There is no pool of system nodes, where Ray heads run: give one pool `node_class: system`."
            return Refusal(message=message, group=None, ever=ever)
        reasons = tuple(why_not(alone, room) for room in system)
        return Refusal(message="No system node has room for the head.", group=None, pools=reasons, ever=ever)
    reasons = tuple(why_not(alone, room) for room in rooms if room.spec.node_class == "user")
    if not reasons:
        message = "There is no pool for workers of this project: an admin declares one with `raysvc pool apply`."
        return Refusal(message=message, group=alone.name, ever=ever)
    what = f"{alone.want} of {alone.each.gpus:g} GPUs each" if alone.each.gpus else f"{alone.want}"
    message = f"No pool has room for group {alone.name!r} ({what})" + ("" if ever else ", not even when idle")
    return Refusal(message=f"{message}.", group=alone.name, pools=reasons, nearest=nearest(alone, rooms), ever=ever)
