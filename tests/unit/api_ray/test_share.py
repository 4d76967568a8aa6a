"""Who may look at a cluster that several projects use."""

import pytest

from raysvc.api.cluster.allow import Access
from raysvc.api.cluster.share import Sharing
from raysvc.domain.access import Principal
from raysvc.domain.job import Job, JobSpec, submit
from raysvc.domain.job import JobPhase as P
from raysvc.domain.project import Role
from raysvc.errors import Forbidden
from raysvc.testing.cluster import Outcome
from tests.unit.api_ray.world import World

EVERYONE = Principal(name="root", role=Role.VIEWER)
TEAM_A = Principal(name="ada", role=Role.ADMIN, projects=("team-a",))
BOTH = Principal(name="bo", role=Role.ADMIN, projects=("team-a", "team-b"))


@pytest.fixture
def sharing(world: World) -> Sharing:
    return Sharing(world.platform)


async def running(world: World, project: str) -> Job:
    """Put a job of a project on the cluster."""
    now = world.clock.now()
    job, event = submit(
        JobSpec(entrypoint="sleep infinity"),
        job_id=f"{project}-job",
        uid=world.platform.parts.ids.uid(now),
        project=project,
        owner="ada",
        now=now,
    )
    await world.store.jobs.add(job, [event])
    job = await world.move(job.id, P.STARTING, project=project)
    await world.backend.jobs.apply(job)
    return await world.move(job.id, P.RUNNING, project=project)


async def test_an_empty_cluster_and_ones_own_jobs_are_for_all_who_ask(world: World, sharing: Sharing) -> None:
    await sharing.check(TEAM_A, "local", Access.READ)
    await running(world, "team-a")
    world.clock.advance(2)
    await sharing.check(TEAM_A, "local", Access.READ)


async def test_with_a_hidden_projects_job_on_it_only_those_who_see_all_may_look(world: World, sharing: Sharing) -> None:
    await running(world, "team-b")
    with pytest.raises(Forbidden, match=r"also holds jobs of 1 other project"):
        await sharing.check(TEAM_A, "local", Access.READ)
    await sharing.check(BOTH, "local", Access.READ)
    await sharing.check(EVERYONE, "local", Access.READ)


async def test_the_refusal_does_not_name_the_hidden_project(world: World, sharing: Sharing) -> None:
    await running(world, "team-b")
    with pytest.raises(Forbidden) as refused:
        await sharing.check(TEAM_A, "local", Access.READ)
    assert "team-b" not in refused.value.message


async def test_a_job_that_has_ended_counts_while_the_cluster_keeps_it(world: World, sharing: Sharing) -> None:
    job = await running(world, "team-b")
    await world.move(job.id, P.SUCCEEDED, project="team-b")
    with pytest.raises(Forbidden):
        await sharing.check(TEAM_A, "local", Access.READ)
    assert job.ref is not None
    await world.backend.jobs.delete(job.ref)
    world.clock.advance(2)
    await sharing.check(TEAM_A, "local", Access.READ)


async def test_a_job_on_its_way_to_the_cluster_counts(world: World, sharing: Sharing) -> None:
    job = await running(world, "team-b")
    assert job.ref is not None
    await world.backend.jobs.delete(job.ref)
    with pytest.raises(Forbidden):
        await sharing.check(TEAM_A, "local", Access.READ)


async def test_a_job_on_another_cluster_does_not_count(world: World, sharing: Sharing) -> None:
    await running(world, "team-b")
    await sharing.check(TEAM_A, "elsewhere", Access.READ)


async def test_an_orphan_is_for_those_who_see_everything(world: World, sharing: Sharing) -> None:
    job = await running(world, "team-a")
    orphan = job.model_copy(update={"uid": "0" * 16})
    world.backend.script(orphan.uid, Outcome())
    await world.backend.jobs.apply(orphan)
    with pytest.raises(Forbidden):
        await sharing.check(BOTH, "local", Access.READ)
    await sharing.check(EVERYONE, "local", Access.READ)


async def test_a_job_that_starts_just_after_a_look_is_known_at_the_next(world: World, sharing: Sharing) -> None:
    await sharing.check(TEAM_A, "local", Access.READ)
    await running(world, "team-b")
    with pytest.raises(Forbidden):
        await sharing.check(TEAM_A, "local", Access.READ)


async def test_what_the_cluster_keeps_is_believed_for_a_second(world: World, sharing: Sharing) -> None:
    job = await running(world, "team-b")
    await world.move(job.id, P.SUCCEEDED, project="team-b")
    with pytest.raises(Forbidden):
        await sharing.check(TEAM_A, "local", Access.READ)
    assert job.ref is not None
    await world.backend.jobs.delete(job.ref)
    with pytest.raises(Forbidden):
        await sharing.check(TEAM_A, "local", Access.READ)
    world.clock.advance(1)
    await sharing.check(TEAM_A, "local", Access.READ)


async def test_log_files_take_a_token_for_every_project_there_is(world: World, sharing: Sharing) -> None:
    await sharing.check(BOTH, "local", Access.PROFILE)
    with pytest.raises(Forbidden, match="any project that ever ran there"):
        await sharing.check(BOTH, "local", Access.FILES)
    all_three = BOTH.model_copy(update={"projects": ("default", "team-a", "team-b")})
    await sharing.check(all_three, "local", Access.FILES)
    await sharing.check(EVERYONE, "local", Access.FILES)
    assert await world.store.projects.list()
