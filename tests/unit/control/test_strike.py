"""A node on which several jobs fail gets no more work; one that is only nearby does not, nor do many at once."""

from datetime import timedelta

import pytest

from raysvc.control.pool import PoolDesk
from raysvc.control.strike import JOBS, MOST_NODES, WITHIN, Strike, condemned
from raysvc.domain.access import Principal
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.observation import Seen
from raysvc.domain.project import Role
from raysvc.domain.reason import ReasonCode
from raysvc.testing.cluster import Outcome

from .ground import AT, SYS, SYSTEM, node, pool
from .world import Place

ADA = Principal(name="ada", role=Role.ADMIN)
LOST = ReasonCode.NODE_LOST


def strikes(node: str, *jobs: str, minutes: float = 0) -> list[Strike]:
    return [Strike(node=node, job=job, at=AT - timedelta(minutes=minutes), why=LOST) for job in jobs]


def test_several_jobs_within_the_hour_condemn_a_node() -> None:
    assert set(condemned(strikes("a", "x", "y", "z"), AT)) == {"a"}
    assert not condemned(strikes("a", "x", "y"), AT)
    assert not condemned(strikes("a", "x", "y", "x", "x"), AT), "one job that fails again and again says nothing"
    late = strikes("a", "x", "y", minutes=WITHIN.total_seconds() / 60 + 1)
    assert not condemned([*late, *strikes("a", "z")], AT)


def test_where_many_nodes_fail_at_once_it_is_not_the_nodes() -> None:
    many = [strike for name in "abcdefgh"[: MOST_NODES + 1] for strike in strikes(name, "x", "y", "z")]
    assert not condemned(many, AT)
    assert set(condemned(many[:-1], AT)) == {*"abcdefgh"[:MOST_NODES]}


def test_the_reason_says_what_to_do_and_names_no_job_of_another_project() -> None:
    why = condemned(strikes("a", "x", "y", "z"), AT)["a"]
    assert why == f"{JOBS} jobs failed there within an hour ({JOBS} NODE_LOST). `raysvc node release` ends it."
    assert why.endswith("`raysvc node release` ends it.")


async def submit(place: Place, cause: ReasonCode) -> Job:
    """Submit a job that fails for that reason, and let it fail."""
    workers = [{"scale": {"min": 1, "want": 1, "max": 1}, "resources": {"gpus": 8}}]
    job = await place.submit("sleep 5", shape={"workers": workers}, retry={"infrastructure": 0})
    place.backend.script(job.uid, Outcome(seen=Seen.FAILED, seconds=1, cause=cause, exit_code=1))
    await place.pass_by(30)  # a new leader waits for the lease of the one before
    assert (await place.now(job)).phase is JobPhase.FAILED
    return job


async def ground() -> Place:
    place = await Place().open()
    place.backend.machines = [SYS, node("a", gpus=8)]
    await place.store.pools.put([SYSTEM, pool("gpu", nodes={"fixed": 1})])
    return place


async def test_a_node_is_quarantined_explained_and_released() -> None:
    place = await ground()
    for number in range(JOBS):
        assert not await place.store.quarantines.list(), number
        await submit(place, ReasonCode.DRIVER_LOST)
        place.reborn()  # another leader goes on with what this one has seen
    (found,) = await place.store.quarantines.list()
    assert (found.node, found.by) == ("a", "raysvc")
    waits = await place.submit("true", shape={"workers": [{"resources": {"gpus": 8}}]})
    await place.pass_by(30)
    verdict = (await place.reconciler._world.queue.board())[waits.uid]  # noqa: SLF001 as the desk sees it
    assert "a quarantined: 3 jobs failed there within an hour" in verdict.reason.message
    await PoolDesk(place.store, place.backend, place.clock).release(ADA, "a")
    await place.pass_by(3)
    assert (await place.now(waits)).phase is JobPhase.SUCCEEDED
    await submit(place, ReasonCode.DRIVER_LOST)
    assert not await place.store.quarantines.list(), "it begins anew"


@pytest.mark.parametrize("cause", [ReasonCode.ENTRYPOINT_FAILED, ReasonCode.RUNTIME_ENV_FAILED])
async def test_what_users_do_to_their_jobs_condemns_nothing(cause: ReasonCode) -> None:
    place = await ground()
    for _ in range(JOBS + 1):
        await submit(place, cause)
    assert not await place.store.quarantines.list()
