"""Nodes on which several jobs fail, one user's or more: they get no more work until somebody has looked at them."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from raysvc.domain.job import Job
from raysvc.domain.model import Instant, Model
from raysvc.domain.node import Quarantine
from raysvc.domain.reason import ReasonCode
from raysvc.ports import Clock, Store

log = structlog.get_logger()
FLAG = "node_strikes"
BY = "raysvc"
WITHIN = timedelta(hours=1)
# Jobs, not attempts: one that kills its nodes itself is its own fault, however often it is tried.
JOBS = 3
# Where more nodes than that fail at once, it is something else: the network, a driver's update, the operator.
MOST_NODES = 2
# What a node does to an attempt. A full disk for images, a refused quota or a damaged package are not its doing.
_NODE = frozenset(
    {
        ReasonCode.NODE_LOST,
        ReasonCode.POD_FAILED,
        ReasonCode.DRIVER_LOST,
        ReasonCode.CLUSTER_LOST,
        ReasonCode.START_TIMED_OUT,
    }
)


class Strike(Model):
    """A job that failed on a node, by no fault of its own."""

    node: str
    job: str
    at: Instant
    why: ReasonCode


def strikes_of(job: Job) -> list[Strike]:
    """Return the strikes of a job whose current attempt has ended: one for each node that its workers were on."""
    if job.placement is None or (last := job.attempts[-1]).finished_at is None or last.reason is None:
        return []
    if last.reason.code not in _NODE:
        return []
    nodes = {node for group in job.placement.groups for node in group.nodes}
    return [Strike(node=node, job=job.uid, at=last.finished_at, why=last.reason.code) for node in sorted(nodes)]


def condemned(strikes: Sequence[Strike], now: datetime) -> dict[str, str]:
    """Return the nodes that are to get no more work, and why; none where too many would go at once."""
    by_node: defaultdict[str, dict[str, Strike]] = defaultdict(dict)
    for strike in strikes:
        if now - strike.at <= WITHIN:
            by_node[strike.node][strike.job] = strike
    found = {node: [*jobs.values()] for node, jobs in by_node.items() if len(jobs) >= JOBS}
    if len(found) > MOST_NODES:
        return {}
    return {node: _said(jobs) for node, jobs in found.items()}


def _said(strikes: Sequence[Strike]) -> str:
    # Which jobs, the log says: the reason is shown to those who wait, and they may be of other projects.
    told = ", ".join(f"{count} {why}" for why, count in sorted(Counter(strike.why for strike in strikes).items()))
    return f"{len(strikes)} jobs failed there within an hour ({told}). `raysvc node release` ends it."


class Strikes:
    """Kept with the platform's settings, so that a leader knows what the one before has seen."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def hear(self, job: Job) -> None:
        """Note what a job's end says of its nodes, and quarantine those that are condemned. May be repeated."""
        fresh = strikes_of(job)
        if not fresh:
            return
        now = self._clock.now()
        known = {(it.node, it.job): it for it in (*await self._read(), *fresh) if now - it.at <= WITHIN}
        await self._write([*known.values()])
        there = {it.node for it in await self._store.quarantines.list()}
        for node, why in condemned([*known.values()], now).items():
            if node not in there:
                jobs = [it.job for it in known.values() if it.node == node]
                log.warning("node in quarantine", node=node, why=why, jobs=jobs)
                await self._store.quarantines.put(Quarantine(node=node, reason=why, by=BY, at=now))

    async def forget(self, node: str) -> None:
        """Begin anew with a node that was released."""
        known = await self._read()
        if any(it.node == node for it in known):
            await self._write([it for it in known if it.node != node])

    async def _read(self) -> list[Strike]:
        return [Strike.model_validate(it) for it in json.loads(await self._store.flags.get(FLAG) or "[]")]

    async def _write(self, strikes: Sequence[Strike]) -> None:
        text = json.dumps([it.model_dump(mode="json") for it in strikes])
        await self._store.flags.put(FLAG, text if strikes else None)
