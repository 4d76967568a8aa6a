"""Clusters that jobs share, from the desk to the loop, on fakes and virtual time."""

from typing import Any

import pytest

from raysvc.control.cluster.desk import ClusterDesk, ClusterPlace
from raysvc.control.cluster.loop import ClusterLoop, ClusterWorld
from raysvc.control.cluster.share import check_named
from raysvc.control.floor import Floor
from raysvc.control.jobs import JobDesk
from raysvc.domain.access import Principal
from raysvc.domain.cluster import ClusterPhase, ClusterSpec, NewCluster, NewScale, SharedCluster
from raysvc.domain.event import fold
from raysvc.domain.job import JobPhase
from raysvc.domain.project import Role
from raysvc.domain.reason import ReasonCode
from raysvc.domain.resources import Scale, Shape, WorkerGroup
from raysvc.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from raysvc.testing.backend import CLUSTER
from tests.unit.control.world import Place

P = ClusterPhase
ROOT = Principal(name="root", role=Role.ADMIN)
ADA = Principal(name="ada", role=Role.MEMBER, projects=("default",))
NEW = NewCluster(name="lab", spec=ClusterSpec(suspend_ttl_s=30))


class Yard(Place):
    """The control plane with the desk and the loop of clusters."""

    def reborn(self) -> None:
        super().reborn()
        queue = self.reconciler._world.queue  # noqa: SLF001 the one that decides
        self.jobs = JobDesk(self.store, queue, self.clock, self.signals)
        floor = Floor(self.backend.clusters, self.store.flags, (), self.signals)
        place = ClusterPlace(
            self.store,
            self.backend,
            floor,
            self.jobs,
            CLUSTER,
            clock=self.clock,
            ids=self.ids,
            signals=self.signals,
        )
        self.desk = ClusterDesk(place)
        world = ClusterWorld(self.store, self.backend.shared, self.signals, self.clock)
        self.loop = ClusterLoop(world, self.leadership)

    async def live(self, seconds: int) -> None:
        """Let that much time go by, with a pass of both loops in each second."""
        for _ in range(seconds):
            await self.pass_by(1, 0.5)
            await self.loop.step()

    async def cluster(self, name: str = "lab") -> SharedCluster:
        """Return the cluster as it is kept, having checked that it is the fold of its events."""
        kept = await self.store.clusters.get("default", name)
        assert SharedCluster.model_validate(fold(await self.store.clusters.events(kept.uid))) == kept
        return kept


@pytest.fixture
async def yard() -> Any:
    return await Yard().open()


async def test_a_job_waits_for_its_cluster_and_runs_on_it(yard: Yard) -> None:
    yard.backend.shared.making = True
    await yard.desk.create(ROOT, "default", NEW)
    job = await yard.submit("sleep 1", cluster="lab")
    await yard.live(3)
    why, _ = await yard.jobs.reason(await yard.now(job))
    assert (why.code, "lab is STARTING" in why.message) == (ReasonCode.CLUSTER_NOT_READY, True)
    yard.backend.shared.making = False
    await yard.live(10)
    ended, made = await yard.now(job), await yard.cluster()
    assert (ended.phase, ended.cluster, ended.attempts[0].on) == (JobPhase.SUCCEEDED, "lab", made.uid)


async def test_unused_it_sleeps_and_a_submit_wakes_it(yard: Yard) -> None:
    await yard.desk.create(ROOT, "default", NEW)
    long = await yard.submit("sleep 60", cluster="lab")
    await yard.live(50)
    assert ((await yard.now(long)).phase, (await yard.cluster()).phase) == (JobPhase.RUNNING, P.READY)
    await yard.live(25)
    assert ((await yard.now(long)).phase, (await yard.cluster()).phase) == (JobPhase.SUCCEEDED, P.READY)
    await yard.live(40)
    assert (await yard.cluster()).phase is P.SUSPENDED
    yard.reborn()
    woke = await yard.submit("sleep 1", cluster="lab")
    await yard.live(12)
    assert ((await yard.now(woke)).phase, (await yard.cluster()).phase) == (JobPhase.SUCCEEDED, P.READY)


async def test_it_is_not_deleted_under_its_jobs_unless_they_are_stopped_with_it(yard: Yard) -> None:
    await yard.desk.create(ROOT, "default", NEW)
    job = await yard.submit("sleep 600", cluster="lab")
    await yard.live(5)
    with pytest.raises(Conflict, match="1 job"):
        await yard.desk.delete(ROOT, "default", "lab")
    await yard.desk.delete(ROOT, "default", "lab", force=True)
    with pytest.raises(Conflict, match="being deleted"):
        await yard.desk.scale(ROOT, "default", "lab", NewScale(min=0, max=1))
    await yard.live(10)
    assert (await yard.now(job)).phase is JobPhase.CANCELLED
    assert yard.backend.shared.there == {}
    with pytest.raises(NotFound):
        await yard.cluster()


async def test_a_job_says_that_its_cluster_is_gone(yard: Yard) -> None:
    job = await yard.submit("true", cluster="lab")
    await yard.live(2)
    why, _ = await yard.jobs.reason(await yard.now(job))
    assert "raysvc cluster create lab" in why.message


async def test_a_job_may_name_only_a_cluster_of_its_project_that_stays(yard: Yard) -> None:
    with pytest.raises(Invalid, match="raysvc cluster create"):
        await check_named(yard.store, yard.backend, "default", "lab")
    with pytest.raises(Invalid, match="one cluster"):
        await check_named(yard.store, object(), "default", "local")
    await yard.desk.create(ROOT, "default", NEW)
    await check_named(yard.store, yard.backend, "default", "lab")
    with pytest.raises(Invalid):
        await check_named(yard.store, yard.backend, "other", "lab")
    await yard.desk.delete(ROOT, "default", "lab")
    with pytest.raises(Invalid, match="being deleted"):
        await check_named(yard.store, yard.backend, "default", "lab")


async def test_what_is_refused_says_so_and_makes_nothing(yard: Yard) -> None:
    with pytest.raises(Forbidden):
        await yard.desk.create(ADA, "default", NEW)
    with pytest.raises(AlreadyExists, match="platform"):
        await yard.desk.create(ROOT, "default", NewCluster(name="local"))
    with pytest.raises(Invalid, match="image"):
        await yard.desk.create(ROOT, "default", NewCluster(name="lab", spec=ClusterSpec(image="refused")))
    preview = await yard.desk.create(ROOT, "default", NEW, dry_run=True)
    assert preview.rendered is not None
    assert await yard.store.clusters.live() == []
    await yard.desk.create(ROOT, "default", NEW)
    for dry_run in (True, False):
        with pytest.raises(AlreadyExists):
            await yard.desk.create(ROOT, "default", NEW, dry_run=dry_run)
    with pytest.raises(Invalid, match="no group"):
        await yard.desk.scale(ROOT, "default", "lab", NewScale(group="none", min=0, max=1))


async def test_a_fixed_size_may_be_another_and_no_range(yard: Yard) -> None:
    def sized(least: int, most: int) -> ClusterSpec:
        return ClusterSpec(shape=Shape(workers=(WorkerGroup(scale=Scale(min=least, want=least, max=most)),)))

    await yard.desk.create(ROOT, "default", NewCluster(name="fixed", spec=sized(2, 2)))
    for dry_run in (True, False):
        with pytest.raises(Invalid, match=r"no autoscaler.*one number") as refused:
            await yard.desk.scale(ROOT, "default", "fixed", NewScale(min=1, max=4), dry_run=dry_run)
        assert refused.value.field == "max"
    await yard.desk.scale(ROOT, "default", "fixed", NewScale(min=3, max=3))
    assert (await yard.cluster("fixed")).spec.workers == Scale(min=3, want=3, max=3)
    # One that was made with a range keeps its autoscaler, and may have one again.
    await yard.desk.create(ROOT, "default", NewCluster(name="lab", spec=sized(0, 4)))
    for least, most in ((2, 2), (0, 8)):
        await yard.desk.scale(ROOT, "default", "lab", NewScale(min=least, max=most))
    assert (await yard.cluster()).spec.workers == Scale(min=0, want=2, max=8)


async def test_a_stranger_is_listed_and_left_alone_until_it_is_adopted(yard: Yard) -> None:
    yard.backend.shared.strangers["by-hand"] = "default"
    await yard.live(3)
    assert yard.backend.shared.there == {}
    assert [(it.name, it.owner) for it in await yard.desk.find(ADA)] == [("by-hand", "foreign"), ("local", "platform")]
    with pytest.raises(NotFound):
        await yard.desk.adopt(ROOT, "default", "nobodys")
    await yard.desk.adopt(ROOT, "default", "by-hand")
    await yard.live(4)
    adopted = await yard.cluster("by-hand")
    assert (adopted.phase, list(yard.backend.shared.there)) == (P.READY, ["by-hand"])
    assert (await yard.desk.get(ADA, "default", "by-hand")).owner == "raysvc"


async def test_what_no_record_claims_is_swept(yard: Yard) -> None:
    await yard.desk.create(ROOT, "default", NEW)
    await yard.live(3)
    made = await yard.cluster()
    orphan = made.model_copy(update={"uid": "0000000000000099"})
    yard.backend.shared.there[orphan.object_name] = orphan
    await yard.leadership.renew()
    assert await yard.loop.sweep() == 1
    assert list(yard.backend.shared.there) == [made.object_name]


async def test_a_silent_backend_moves_nothing(yard: Yard) -> None:
    await yard.desk.create(ROOT, "default", NewCluster(name="lab", spec=ClusterSpec(suspend_ttl_s=10)))
    await yard.live(3)
    yard.backend.shared.deaf = True
    await yard.live(20)
    silent = await yard.cluster()
    assert (silent.phase, silent.reason.code) == (P.READY, ReasonCode.CLUSTER_UNREACHABLE)
    assert [it.name for it in await yard.desk.find(ROOT)] == ["lab", "local"]
