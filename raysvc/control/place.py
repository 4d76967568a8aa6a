"""Which pool and which nodes a job's workers and head get, decided before any pod is made. Pure.

All or nothing, on nodes that are well, free and of one pool for each group; workers never on system nodes, heads only
there. Of the pools that fit, the cheapest; of the domains, the fullest that holds the gang.
"""

from collections.abc import Mapping, Sequence

from raysvc.control.gang import Crew, Seat, crews, hold, places, seat
from raysvc.control.misfit import nearest, why_not
from raysvc.control.yard import Room, survey
from raysvc.domain.job import JobSpec
from raysvc.domain.node import NodeView
from raysvc.domain.placement import Ask, GroupPlacement, Placement, Refusal
from raysvc.domain.pool import Pool
from raysvc.domain.resources import Resources, Scale, WorkerGroup

# What a head takes at least: Ray's control store, dashboard and a driver.
HEAD = Resources(cpus=1, memory=2 << 30)


def ask_of(spec: JobSpec, project: str) -> Ask:
    """Return what a job asks for. A driver that wants GPUs is a worker of its own: heads have none."""
    driver = spec.resources
    groups = spec.shape.workers
    if driver.gpus:
        groups = (*groups, WorkerGroup(name="driver", scale=Scale(min=1, want=1, max=1), resources=driver))
        driver = Resources()
    head = Resources(cpus=max(HEAD.cpus, driver.cpus), memory=max(HEAD.memory, driver.memory))
    return Ask(project=project, groups=groups, head=head)


def place(
    ask: Ask, pools: Sequence[Pool], nodes: Sequence[NodeView], quarantine: Mapping[str, str]
) -> Placement | Refusal:
    """Return where all of it goes, or why each pool cannot take it. `quarantine`: node -> why it is there."""
    return _place(ask, survey(pools, nodes, quarantine))


def allot(
    asks: Sequence[Ask], pools: Sequence[Pool], nodes: Sequence[NodeView], quarantine: Mapping[str, str]
) -> list[Placement | Refusal]:
    """Return an answer for each, in the order in which they may start: each takes its place from those behind it.

    One that has to wait keeps its place (`gang.hold`): large gangs are not starved by small ones. One that would not
    fit even on idle nodes keeps nothing.
    """
    rooms = survey(pools, nodes, quarantine)
    answers = []
    for ask in asks:
        answer = _place(ask, rooms)
        if isinstance(answer, Refusal) and answer.ever:
            hold(crews(ask), rooms)
        answers.append(answer)
    return answers


def _place(ask: Ask, rooms: Sequence[Room]) -> Placement | Refusal:
    asked = crews(ask)
    seats = seat(asked, rooms)
    if seats is not None:
        return _placement(seats)
    ever = seat(asked, [room.ideal() for room in rooms]) is not None
    return _refusal(asked, [room for room in rooms if room.spec.serves(ask.project)], ever=ever)


def _placement(seats: Sequence[Seat]) -> Placement:
    head = seats[-1]
    (slot, _), *_rest = head.slots
    workers = sorted(seats[:-1], key=lambda seat: seat.crew.number)
    return Placement(
        groups=tuple(map(_group, workers)),
        head_pool=head.room.name,
        head_node=slot.name if slot.node else None,
    )


def _group(found: Seat) -> GroupPlacement:
    there = {slot.name: count for slot, count in found.slots if slot.node}
    new = sum(slot.node is None for slot, _ in found.slots)
    domain = None if new else found.domain
    return GroupPlacement(group=found.crew.name, pool=found.room.name, nodes=there, new_nodes=new, domain=domain)


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
