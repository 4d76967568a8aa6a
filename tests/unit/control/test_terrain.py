"""Jobs on declared pools, through the scheduler and the loop: who gets which nodes, and what the others are told."""

from typing import Any

import pytest

from raysvc.control.queue import Queue
from raysvc.control.schedule import KEPT_PLACES
from raysvc.control.terrain import Surveyor
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.node import NodeView, Quarantine
from raysvc.domain.reason import ReasonCode
from raysvc.errors import Unavailable
from raysvc.testing.backend import CLUSTER

from .ground import AT, SYS, SYSTEM, node, pool, system_node
from .world import Place

TRAIN = {"name": "train", "scale": {"min": 2, "want": 2, "max": 2}, "resources": {"gpus": 8}}


async def ground(*nodes: NodeView, **gpu: Any) -> Place:
    """Return a place with a pool of GPU nodes and one of system nodes, where these nodes are."""
    place = await Place().open()
    place.backend.cluster = place.backend.cluster.model_copy(update={"max_running_jobs": 100})
    place.backend.machines = [SYS, *nodes]
    await place.store.pools.put([SYSTEM, pool("gpu", **gpu)])
    return place


async def submit(place: Place, entrypoint: str, **spec: Any) -> Job:
    """Submit a job that comes after those before it."""
    place.clock.advance(0.001)
    return await place.submit(entrypoint, **spec)


def gang(**changed: Any) -> dict[str, Any]:
    return {"workers": [{**TRAIN, **changed}]}


async def why(place: Place, job: Job) -> tuple[ReasonCode, str]:
    """Return what is said of a job that waits."""
    verdict = (await place.reconciler._world.queue.board())[job.uid]  # noqa: SLF001 as the desk sees it
    return verdict.reason.code, verdict.reason.message


async def test_a_gang_is_placed_before_it_starts_and_its_attempt_says_where() -> None:
    place = await ground(node("a"), node("b"), node("c", used=4))
    job = await submit(place, "sleep 100", shape=gang())
    await place.pass_by(1)
    now = await place.now(job)
    assert now.phase is JobPhase.RUNNING
    assert now.placement is not None
    assert (now.placement.groups[0].nodes, now.placement.head_node) == ({"a": 1, "b": 1}, "sys-1")
    assert now.placement.pools.keys() == {"gpu", "system"}
    moved = [event.message for event in await place.store.jobs.events(job.uid) if "attempt 1" in event.message]
    assert moved == [
        "QUEUED -> STARTING: Being handed to Ray. attempt 1 on local: train on pool gpu (a, b), head on pool system"
    ]


async def test_what_was_promised_is_taken_before_its_pods_are_there_and_free_when_it_has_ended() -> None:
    place = await ground(node("a"), node("b"))
    first = await submit(place, "sleep 20", shape=gang())
    second = await submit(place, "sleep 20", shape=gang())
    await place.pass_by(5)
    assert (await place.now(first)).phase is JobPhase.RUNNING
    assert (await place.now(second)).phase is JobPhase.QUEUED
    code, message = await why(place, second)
    assert code is ReasonCode.INSUFFICIENT_RESOURCES
    assert "gpu: has room for 0 of 2 workers now (room for 2 more is taken" in message
    place.reborn()  # a server that starts knows what another has promised
    await place.pass_by(5)
    assert (await place.now(second)).phase is JobPhase.QUEUED
    await place.pass_by(30)
    assert (await place.now(second)).phase in {JobPhase.RUNNING, JobPhase.SUCCEEDED}


async def test_pods_that_are_there_are_not_counted_twice_wherever_they_went() -> None:
    place = await ground(node("a"), node("b"))
    half = {"resources": {"gpus": 4}}
    first = await submit(place, "sleep 100", shape=gang(**half))
    await place.pass_by(1)
    promised = (await place.now(first)).placement
    assert promised is not None
    assert promised.groups[0].nodes == {"a": 2}, "of one that fits there"
    # Both of its pods came to the other node.
    pods = {"nvidia.com/gpu": 8.0, "cpu": 2.0}
    there = {"used": pods, "tenants": {f"job-{first.uid}-1": pods}}
    place.backend.machines = [SYS, node("a"), node("b").model_copy(update=there)]
    second = await submit(place, "sleep 100", shape=gang(**half))
    await place.pass_by(1)
    placement = (await place.now(second)).placement
    assert placement is not None
    assert placement.groups[0].nodes == {"a": 2}


async def test_one_that_can_never_fit_is_told_and_stands_aside() -> None:
    place = await ground(node("a"), node("b"), nodes={"fixed": 2})
    large = await submit(place, "true", shape=gang(scale={"min": 3, "want": 3, "max": 3}))
    small = await submit(place, "true", shape=gang())
    await place.pass_by(2)
    code, message = await why(place, large)
    assert code is ReasonCode.EXCEEDS_CAPACITY
    assert "not even when idle" in message
    assert "Nearest: 2 workers of 8 GPUs would fit now, on gpu." in message
    assert (await place.now(small)).phase is JobPhase.SUCCEEDED


async def test_small_jobs_do_not_starve_a_gang() -> None:
    place = await ground(node("a"), node("b", used=8))
    large = await submit(place, "true", shape=gang())
    small = await submit(place, "true", shape=gang(scale={"min": 1, "want": 1, "max": 1}))
    await place.pass_by(3)
    assert (await place.now(small)).phase is JobPhase.QUEUED
    place.backend.machines = [SYS, node("a"), node("b")]
    await place.pass_by(5)
    assert (await place.now(large)).phase is JobPhase.SUCCEEDED
    assert (await place.now(small)).phase is JobPhase.SUCCEEDED


async def test_far_behind_in_the_line_one_starts_only_beside_what_is_kept() -> None:
    place = await ground(node("a"), node("b", used=8))
    gangs = [await submit(place, "true", shape=gang()) for _ in range(KEPT_PLACES)]
    behind = await submit(place, "true", shape=gang())
    cpus = await submit(place, "true")
    await place.pass_by(2)
    assert (await why(place, gangs[-1]))[1].startswith("No pool has room for group 'train'")
    assert await why(place, behind) == (
        ReasonCode.INSUFFICIENT_RESOURCES,
        "no room beside what is kept for the jobs before it",
    )
    assert (await place.now(cpus)).phase is JobPhase.SUCCEEDED


async def test_nodes_in_quarantine_and_such_as_are_not_well_get_nothing() -> None:
    place = await ground(node("a"), node("b"), node("c", ready=False))
    await place.store.quarantines.put(Quarantine(node="a", reason="XID 79", by="ada", at=AT))
    job = await submit(place, "true", shape=gang())
    await place.pass_by(2)
    code, message = await why(place, job)
    assert code is ReasonCode.INSUFFICIENT_RESOURCES
    assert "a quarantined: XID 79" in message
    assert "c unhealthy: not ready" in message


async def test_without_declared_pools_nobody_chooses_nodes() -> None:
    place = await Place().open()
    place.backend.machines = [SYS, node("a")]
    job = await submit(place, "true", resources={"cpus": 1})
    await place.pass_by(2)
    now = await place.now(job)
    assert (now.phase, now.placement) == (JobPhase.SUCCEEDED, None)
    assert '"placement"' not in now.model_dump_json(), "a server of the version before reads it"


async def test_a_pool_set_without_system_nodes_says_so() -> None:
    place = await ground(node("a"))
    await place.store.pools.delete("system")
    job = await submit(place, "true")
    await place.pass_by(1)
    assert "There is no pool of system nodes" in (await why(place, job))[1]


async def test_while_nodes_cannot_be_seen_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    place = await ground(node("a"), node("b"))

    async def unseen() -> list[NodeView]:
        raise Unavailable("nodes cannot be listed")

    monkeypatch.setattr(place.backend, "nodes", unseen)
    job = await submit(place, "true", shape=gang())
    await place.pass_by(2)
    assert await why(place, job) == (ReasonCode.CLUSTER_NOT_READY, "nodes cannot be listed")
    monkeypatch.undo()
    await place.pass_by(3)
    assert (await place.now(job)).phase is JobPhase.SUCCEEDED


async def test_the_record_of_one_that_waits_is_read_once() -> None:
    place = await ground(node("a", used=8), node("b"))
    await submit(place, "true", shape=gang())
    read: list[str] = []
    get_many = place.store.jobs.get_many

    async def counted(uids: list[str]) -> Any:
        read.extend(uids)
        return await get_many(uids)

    place.store.jobs.get_many = counted  # type: ignore[method-assign, assignment]
    queue = Queue(place.store, place.backend.clusters, place.clock, CLUSTER, Surveyor(place.store, place.backend))
    for _ in range(3):
        (verdict,) = await queue.verdicts()
        assert not verdict.admitted
    assert len(read) == 1


async def test_heads_take_what_they_take_from_the_system_nodes() -> None:
    place = await ground(node("a"))
    place.backend.machines = [system_node(allocatable={"cpu": 2.0, "memory": 16.0 * (1 << 30)}), node("a")]
    jobs = [await submit(place, "sleep 100") for _ in range(3)]
    await place.pass_by(2)
    phases = [(await place.now(job)).phase for job in jobs]
    assert phases == [JobPhase.RUNNING, JobPhase.RUNNING, JobPhase.QUEUED]
    assert "No system node has room for the head." in (await why(place, jobs[2]))[1]
