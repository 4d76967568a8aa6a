"""One seed, carried out and judged; and a plan that fails, made smaller."""

import asyncio
import gc
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog

from raysvc.control import agenda, decide, housekeeping, queue
from tests.simulate.audit import Auditor
from tests.simulate.client import Clients
from tests.simulate.loop import Stuck, VirtualLoop
from tests.simulate.plan import FAULTY_S, Op, Plan, draw
from tests.simulate.verdict import IDLE_S, Idleness, judge, unsettled
from tests.simulate.world import World

# Once the faults are over all must be at rest within this time: lease, backoff, one job after the other, two sweeps.
SETTLE_S = 120.0
LOOK_S = 2.0
# Looked at less often than in earnest, so that a seed costs milliseconds; and short windows, so that they fill.
_PACE: tuple[tuple[Any, str, Any], ...] = (
    (decide, "SHORTEST_LOOK", timedelta(milliseconds=200)),
    (decide, "LONGEST_LOOK", timedelta(seconds=2)),
    (housekeeping, "EVERY_S", 5.0),
    (agenda, "DUE_LIMIT", 3),
    (queue, "LOOK_AHEAD", 2),
)


@dataclass(frozen=True)
class Outcome:
    """What came of a plan: nothing in `wrongs` is well."""

    plan: Plan
    wrongs: tuple[str, ...]
    trace: tuple[str, ...]
    seconds: float


@contextmanager
def paced() -> Iterator[list[str]]:
    """Set the pace of a simulation, and hear what the control plane says of itself; undone at the end."""
    before = [(module, name, getattr(module, name)) for module, name, _ in _PACE]
    config = structlog.get_config()
    said: list[str] = []

    def hear(_: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        text = " ".join([method, *(str(value) for value in event.values())])
        said.append(text)
        raise structlog.DropEvent

    for module, name, value in _PACE:
        setattr(module, name, value)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, hear],
        wrapper_class=structlog.make_filtering_bound_logger(30),  # warnings and worse
        cache_logger_on_first_use=False,
    )
    try:
        yield said
    finally:
        structlog.configure(**config)
        for module, name, value in before:
            setattr(module, name, value)


def carry_out(plan: Plan, said: list[str], *, trace: bool = False) -> Outcome:
    """Return what comes of a plan. Call it within `paced`, whose list it is given."""
    said.clear()
    loop = VirtualLoop()  # type: ignore[abstract]  # it has what is needed
    world = World(plan, loop, [] if trace else None)
    clients, auditor = Clients(world), Auditor(world)
    try:
        wrongs = loop.run(_live(world, clients, auditor))
    except Stuck as error:
        wrongs = [str(error)]
    wrongs += [text for text in said if text.startswith(("error", "critical")) or " no edge " in text]
    for process in world.processes:
        process.bury()
    return Outcome(plan, tuple(dict.fromkeys(wrongs)), tuple(world.trace or ()), loop.time())


async def _live(world: World, clients: Clients, auditor: Auditor) -> list[str]:
    """Let the plan happen, end the faults, and let time go on until all is at rest."""
    await world.open()
    loop = world.loop
    tasks = [loop.create_task(_at(op, world, clients)) for op in world.plan.ops]
    await asyncio.sleep(FAULTY_S)
    world.calm()
    for task in tasks:
        await task
    if auditor.doubled():
        await asyncio.sleep(IDLE_S)
    doubled = [f"two attempts of {uid} run side by side, and nobody ends one" for uid in auditor.doubled()]
    await clients.end()
    began, idleness = loop.time(), Idleness(world)
    while unsettled(world) and loop.time() < began + SETTLE_S and not idleness.wrongs:
        await asyncio.sleep(LOOK_S)
        idleness.look()
    wrongs = [*doubled, *idleness.wrongs, *await judge(world, clients, auditor)]
    for server in world.servers:
        server.process.kill()
    return wrongs


async def _at(op: Op, world: World, clients: Clients) -> None:
    await asyncio.sleep(op.at)
    world.note(f"-- {op}")
    await (clients.do(op) if op.kind in {"submit", "stop", "delete"} else world.do(op))


def failing(seeds: range) -> list[Outcome]:
    """Return the outcomes of those seeds in which something is wrong."""
    with paced() as said:
        outcomes = (carry_out(draw(seed), said) for seed in seeds)
        found = [outcome for outcome in outcomes if outcome.wrongs]
    gc.collect()  # only here: within a run it would cost a tenth of the time
    return found


def smaller(plan: Plan, said: list[str]) -> Plan:
    """Return a plan that still fails, with as few operations and kinds of fault as leaving out one by one can reach."""
    again = True
    while again:
        again = False
        for less in _less(plan):
            if carry_out(less, said).wrongs:
                plan, again = less, True
                break
    return plan


def _less(plan: Plan) -> Iterator[Plan]:
    for index in range(len(plan.ops)):
        yield replace(plan, ops=plan.ops[:index] + plan.ops[index + 1 :])
    for name in plan.kinds:
        yield replace(plan, kinds={kind: chance for kind, chance in plan.kinds.items() if kind != name})
    if plan.servers > 1:
        yield replace(plan, servers=1)
