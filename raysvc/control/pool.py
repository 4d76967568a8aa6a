"""Node pools and nodes, as people manage them, and where a job would go."""

from collections import Counter
from collections.abc import Sequence

from raysvc.control.place import place
from raysvc.control.strike import Strikes
from raysvc.control.yard import Room, survey
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.inventory import Fit, NewPool, NodeState, PoolState
from raysvc.domain.job import JobSpec
from raysvc.domain.node import NodeView, OsFacts, Quarantine
from raysvc.domain.placement import Placement
from raysvc.domain.pool import Discovery, Pool, PoolSpec, check_pools, pool_of
from raysvc.domain.text import check_line
from raysvc.errors import Conflict, Invalid, NotFound, Unavailable
from raysvc.ports import Clock, Store, Surveyed

_NO_KUBERNETES = "This server has no Kubernetes, so it sees no nodes: start it with `raysvc up --kube`."


class PoolDesk:
    """Each verb checks the principal first. With `dry_run` a write is checked and returned, and not kept.

    Pools are kept with or without Kubernetes, so that they can be declared beforehand; what is about nodes raises
    Conflict without it.
    """

    def __init__(self, store: Store, ground: object, clock: Clock) -> None:
        self._pools = store.pools
        self._quarantines = store.quarantines
        self._strikes = Strikes(store, clock)
        self._ground = ground if isinstance(ground, Surveyed) else None
        self._clock = clock

    async def find(self, principal: Principal) -> Sequence[PoolState]:
        """Return the pools that serve a project the principal sees, by name, as they are now."""
        access.authorise(principal, Verb.READ, Resource.POOL, _anywhere(principal))
        pools = await self._pools.list()
        nodes = await self._seen()
        states = _states(pools, nodes, await self._why_quarantined())
        return [_shown(principal, state) for state in states if _sees(principal, state)]

    async def get(self, principal: Principal, name: str) -> PoolState:
        """Return the pool; raises NotFound, also for one that serves only projects which the principal does not see."""
        found = next((state for state in await self.find(principal) if state.name == name), None)
        if found is None:
            raise NotFound(f"There is no pool {name!r} for this token.")
        return found

    async def apply(self, principal: Principal, new: Sequence[NewPool], *, dry_run: bool = False) -> Sequence[Pool]:
        """Declare pools, each in place of one of its name: all of them or none. May be repeated.

        Raises Invalid where a node could be of two pools.
        """
        access.authorise(principal, Verb.MANAGE, Resource.POOL, _anywhere(principal))
        twice = [name for name, number in Counter(each.name for each in new).items() if number > 1]
        if twice:
            raise Invalid(f"Pool {twice[0]!r} stands there twice.", field="pools")
        now = self._clock.now()
        kept = {pool.name: pool for pool in await self._pools.list()}
        declared = []
        for each in new:
            _check_text(each.spec)
            born = kept[each.name].created_at if each.name in kept else now
            declared.append(Pool(name=each.name, spec=each.spec, created_at=born, updated_at=now))
        check_pools([*({**kept, **{pool.name: pool for pool in declared}}).values()], await self._seen() or ())
        if not dry_run:
            await self._pools.put(declared)
        return declared

    async def delete(self, principal: Principal, name: str, *, dry_run: bool = False) -> Pool:
        """Forget a pool; what runs on its nodes runs on. Raises NotFound."""
        access.authorise(principal, Verb.MANAGE, Resource.POOL, _anywhere(principal))
        found = next((pool for pool in await self._pools.list() if pool.name == name), None)
        if found is None:
            raise NotFound(f"There is no pool {name!r}.")
        if not dry_run:
            await self._pools.delete(name)
        return found

    async def discover(self, principal: Principal) -> Discovery:
        """Return the pools that the nodes suggest. Raises Conflict without Kubernetes, Unavailable."""
        access.authorise(principal, Verb.READ, Resource.NODE, _anywhere(principal))
        return await self._require().discover()

    async def fit(self, principal: Principal, project: str, spec: JobSpec) -> Fit:
        """Return where a job of the project would go now, or why not: nothing is taken or kept."""
        access.authorise(principal, Verb.READ, Resource.JOB, project)
        ground = self._require()
        asked = spec.ask(project, ground.head)
        answer = place(asked, await self._pools.list(), await ground.nodes(), await self._why_quarantined())
        return Fit(placement=answer) if isinstance(answer, Placement) else Fit(refusal=answer)

    async def nodes(self, principal: Principal) -> Sequence[NodeState]:
        """Return all nodes, by name. Only the platform's admin may see them."""
        access.authorise(principal, Verb.READ, Resource.NODE, _anywhere(principal))
        nodes, pools = await self._require().nodes(), await self._pools.list()
        quarantines = {it.node: it for it in await self._quarantines.list()}
        aside = _aside(survey(pools, nodes, {name: it.reason for name, it in quarantines.items()}))
        states = (_state(node, pool_of(node.labels, pools), quarantines, aside) for node in nodes)
        return sorted(states, key=lambda state: state.name)

    async def quarantine(self, principal: Principal, node: str, reason: str, *, dry_run: bool = False) -> Quarantine:
        """Give a node no work until it is released; what runs there runs on. May be repeated. Raises NotFound."""
        access.authorise(principal, Verb.MANAGE, Resource.NODE, _anywhere(principal))
        check_line(reason, "reason")
        if all(each.name != node for each in await self._require().nodes()):
            raise NotFound(f"There is no node {node!r}.")
        found = Quarantine(node=node, reason=reason, by=principal.name, at=self._clock.now())
        if not dry_run:
            await self._quarantines.put(found)
        return found

    async def release(self, principal: Principal, node: str, *, dry_run: bool = False) -> None:
        """End a node's quarantine, also of one that is no longer there. May be repeated."""
        access.authorise(principal, Verb.MANAGE, Resource.NODE, _anywhere(principal))
        if not dry_run:
            await self._strikes.forget(node)
            await self._quarantines.delete(node)

    def _require(self) -> Surveyed:
        if self._ground is None:
            raise Conflict(_NO_KUBERNETES)
        return self._ground

    async def _seen(self) -> Sequence[NodeView] | None:
        """Return the nodes; None where they cannot be seen now."""
        try:
            return await self._ground.nodes() if self._ground else None
        except Unavailable:
            return None

    async def _why_quarantined(self) -> dict[str, str]:
        return {it.node: it.reason for it in await self._quarantines.list()}


def _states(pools: Sequence[Pool], nodes: Sequence[NodeView] | None, quarantine: dict[str, str]) -> Sequence[PoolState]:
    rooms = {room.name: room for room in survey(pools, nodes or (), quarantine)}
    notes = _NO_HEADS if pools and all(pool.spec.node_class == "user" for pool in pools) else ()
    found = []
    for pool in pools:
        room = rooms[pool.name]
        usable = sum(slot.node is not None for slot in room.slots)
        seen = (None, None, notes) if nodes is None else (room.nodes, usable, (*notes, *_notes(room)))
        found.append(PoolState(**dict(pool), **dict(zip(("seen", "usable", "notes"), seen, strict=True))))
    return found


_NO_HEADS = ("No pool has `node_class: system`, so no job can have a head.",)


def _notes(room: Room) -> list[str]:
    fixed, aside = room.spec.nodes.fixed, [f"{node.name}: {why}" for node, _, why in room.aside]
    if fixed is not None and room.nodes == 0:
        return ["No node has its labels."]
    missing = [f"{room.nodes} of {fixed} nodes are there."] if fixed is not None and room.nodes < fixed else []
    drifted = [
        f"{slot.name}: {'; '.join(drift)} (takes work: os.on_drift is report)"
        for slot in room.slots
        if slot.node and (drift := room.spec.os.drift(slot.node.os))
    ]
    return [*missing, *aside, *drifted]


def _aside(rooms: Sequence[Room]) -> dict[str, str]:
    return {node.name: f"{code.lower()}: {why}" for room in rooms for node, code, why in room.aside}


def _state(node: NodeView, pool: Pool | None, quarantines: dict[str, Quarantine], aside: dict[str, str]) -> NodeState:
    why = aside.get(node.name) if pool else "no pool has its labels"
    return NodeState(
        name=node.name,
        pool=pool.name if pool else None,
        usable=why is None,
        why=why,
        quarantine=quarantines.get(node.name),
        drift=pool.spec.os.drift(node.os) if pool else (),
        allocatable=node.allocatable,
        used=node.used,
        os=node.os,
    )


def _sees(principal: Principal, pool: Pool) -> bool:
    return not principal.projects or any(pool.spec.serves(project) for project in principal.projects)


def _shown(principal: Principal, pool: PoolState) -> PoolState:
    """Return the pool without the names of projects that the principal does not see."""
    seen = tuple(project for project in pool.spec.projects if principal.sees(project))
    return pool.model_copy(update={"spec": pool.spec.model_copy(update={"projects": seen})})


def _check_text(spec: PoolSpec) -> None:
    for name in OsFacts.model_fields:
        check_line(getattr(spec.os, name) or "", f"os.{name}")


def _anywhere(principal: Principal) -> str:
    """Return a project the principal sees: what belongs to the whole platform is asked for in any of them."""
    return next(iter(principal.projects), "*")
