"""Who leads where clocks are set back, or are not the same: one, and soon again one."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from raysvc.control.lease import NAME, RENEW_S, TTL_S, Leadership
from raysvc.control.signal import Signals
from raysvc.testing.store import MemoryStore
from tests.simulate.loop import VirtualLoop
from tests.simulate.world import SimClock


class Rivals:
    """Two servers on one store, each with a clock of its own."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.store = MemoryStore()
        self.clocks = {name: SimClock(loop) for name in "ab"}
        self.leads = {
            name: Leadership(self.store.leases, clock, Signals(), name) for name, clock in self.clocks.items()
        }

    async def pass_by(self, seconds: float, *alive: str) -> None:
        """Let time go by in which these renew."""
        for _ in range(int(seconds / RENEW_S)):
            for name in alive:
                await self.leads[name].renew()
            await asyncio.sleep(RENEW_S)

    def held(self) -> list[str]:
        return [name for name, one in self.leads.items() if one.held]


def run(story: Any) -> None:
    loop = VirtualLoop()  # type: ignore[abstract]  # it has what is needed
    rivals = Rivals(loop)

    async def tell() -> None:
        await rivals.store.open()
        told: Coroutine[Any, Any, None] = story(rivals)
        await told

    loop.run(tell())


def test_a_leader_that_died_is_replaced_though_the_clock_was_set_back_meanwhile() -> None:
    async def story(rivals: Rivals) -> None:
        await rivals.pass_by(3, "a", "b")
        assert rivals.held() == ["a"]
        for clock in rivals.clocks.values():
            clock.skew_s = -3600
        await rivals.pass_by(TTL_S + 2 * RENEW_S, "b")
        assert rivals.leads["b"].held

    run(story)


def test_a_leader_that_lives_stays_whoever_has_a_clock_behind_its_own() -> None:
    async def story(rivals: Rivals) -> None:
        rivals.clocks["a"].skew_s = 3600
        for _ in range(20):
            await rivals.pass_by(TTL_S, "a", "b")
            assert rivals.held() == ["a"]

    run(story)


def test_two_clocks_apart_do_not_make_two_leaders() -> None:
    async def story(rivals: Rivals) -> None:
        await rivals.pass_by(3, "a", "b")
        rivals.clocks["b"].skew_s = 3600  # to it, the other's lease is over
        await rivals.pass_by(RENEW_S, "b", "a")
        for _ in range(20):
            await rivals.pass_by(TTL_S, "a", "b")
            assert rivals.held() == ["b"]

    run(story)


def test_who_was_held_up_does_not_lead_though_its_clock_was_set_back() -> None:
    async def story(rivals: Rivals) -> None:
        await rivals.pass_by(3, "a")
        rivals.clocks["a"].skew_s = -3600
        await asyncio.sleep(TTL_S)
        assert rivals.held() == []

    run(story)


def test_one_that_was_taken_over_lasts_no_longer_than_any_other() -> None:
    async def story(rivals: Rivals) -> None:
        rivals.clocks["a"].skew_s = 3600
        await rivals.pass_by(3, "a", "b")
        await rivals.pass_by(TTL_S + 3 * RENEW_S, "b")
        assert rivals.held() == ["b"]
        kept = await rivals.store.leases.get(NAME)
        assert kept is not None
        assert (kept.deadline - rivals.clocks["b"].now()).total_seconds() <= TTL_S

    run(story)
