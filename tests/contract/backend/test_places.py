"""What every backend promises of its clusters, of its address, and of what jobs leave behind."""

import pytest

from raysvc.domain.cluster import ClusterPhase
from raysvc.errors import NotFound
from raysvc.ports import Foreseeable, Reachable
from tests.contract.backend.lab import Lab, ref_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_cluster_says_what_it_has(lab: Lab) -> None:
    cluster = await lab.backend.clusters.get("local")
    assert (cluster.name, cluster.project, cluster.phase) == ("local", "default", ClusterPhase.READY)
    assert cluster.reason is None
    assert cluster.nodes == 1
    assert cluster.resources.cpus >= 1
    assert cluster.resources.memory > 0
    assert cluster.free_memory
    assert cluster.max_running_jobs >= 1
    assert cluster.ray_version == "2.60.0"
    assert cluster.autoscaling is None
    assert [found.name for found in await lab.backend.clusters.list()] == ["local"]


async def test_another_cluster_is_not_found(lab: Lab) -> None:
    with pytest.raises(NotFound):
        await lab.backend.clusters.get("remote")


async def test_its_address_comes_with_what_opens_it(lab: Lab) -> None:
    assert isinstance(lab.backend, Reachable)
    endpoint = await lab.backend.endpoint("local")
    assert endpoint.url.startswith("http://127.0.0.1:")
    assert endpoint.headers["authorization"].startswith("Bearer ")
    with pytest.raises(NotFound):
        await lab.backend.endpoint("remote")


async def test_stop_and_delete_can_be_foreseen(lab: Lab) -> None:
    ref = ref_of(lab.job("true"))
    assert isinstance(lab.backend.jobs, Foreseeable)
    assert lab.backend.jobs.render_stop(ref).documents[0]["path"] == f"/api/jobs/{ref.name}/stop"
    assert lab.backend.jobs.render_delete(ref).documents[-1]["method"] == "DELETE"


async def test_what_a_job_leaves_is_listed_read_and_removed(lab: Lab) -> None:
    job = lab.job('echo the result > "$RAYSVC_OUTPUT_DIR/result.txt"')
    await lab.run(job)
    (listed,) = await lab.backend.artifacts.list(job.uid)
    assert (listed.path, listed.size) == ("result.txt", len("the result\n"))
    assert await read(lab, job.uid, "result.txt") == b"the result\n"
    assert await read(lab, job.uid, "result.txt", offset=4) == b"result\n"
    await lab.backend.artifacts.delete(job.uid)
    await lab.backend.artifacts.delete(job.uid)
    assert await lab.backend.artifacts.list(job.uid) == []


async def test_what_is_not_an_artifact_is_not_found(lab: Lab) -> None:
    job = lab.job('echo the result > "$RAYSVC_OUTPUT_DIR/result.txt"')
    await lab.run(job)
    for path in ("no-such-file", "", ".", "..", "../output/result.txt", "/etc/passwd", "a\0b", "result.txt/more"):
        with pytest.raises(NotFound):
            await read(lab, job.uid, path)


async def test_a_job_that_left_nothing_has_an_empty_list(lab: Lab) -> None:
    assert await lab.backend.artifacts.list(lab.job("true").uid) == []


async def read(lab: Lab, uid: str, path: str, offset: int = 0) -> bytes:
    return b"".join([chunk async for chunk in lab.backend.artifacts.read(uid, path, offset=offset)])
