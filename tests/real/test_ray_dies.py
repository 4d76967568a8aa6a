"""Ray is killed, loses its job table, or a node of it is cut off, in each phase of a job: each ends as it truly did."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

import raysvc
from raysvc.client.discovery import local_server
from raysvc.client.model import Job
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.job import JobPhase
from raysvc.domain.reason import ReasonCode

from .given_ray import GivenRay
from .platform_process import START_S, STOP_S, eventually

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

_C, _P = ReasonCode, JobPhase
SERVER = (sys.executable, "-m", "raysvc.cli", "up", "--port", "0")
WAITS = "echo attempt $RAYSVC_ATTEMPT; while [ ! -e $RAYSVC_CHECKPOINT_DIR/go ]; do sleep 0.1; done; echo over"
HOLDS_ON = "trap 'echo no' TERM; echo up; while true; do sleep 0.1; done"
RUN_S = 240.0


class Server:
    """`raysvc up` as a process that can be held still. The job's folders are on this machine."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        environment = {n: v for n, v in os.environ.items() if not n.startswith(("RAY_", "RAYSVC_"))}
        with (folder.parent / "up.log").open("wb") as log:
            command = (*SERVER, "--data-dir", str(folder), *options)
            self.process = psutil.Popen(command, env=environment, stdout=log, stderr=log)
        eventually((folder / "server.json").exists, START_S)
        server = local_server(folder)
        self.client = raysvc.Client(server.url, server.token)

    def until(self, job: Job, *phases: JobPhase) -> Job:
        return self.client.jobs.wait(job.id, RUN_S, until=lambda found: found.phase in phases)

    def ready(self) -> None:
        eventually(lambda: self.client.clusters.get("local").phase is ClusterPhase.READY, RUN_S)

    def let_go(self, job: Job) -> None:
        (self.folder / "work" / "jobs" / job.uid / "checkpoint" / "go").touch()

    def said(self, job: Job) -> list[str]:
        return "".join(self.client.jobs.logs(job.id)).splitlines()

    def stop(self) -> None:
        self.client.close()
        with suppress(psutil.NoSuchProcess):
            self.process.resume()
            self.process.terminate()
        self.process.wait(STOP_S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "data", "--max-running-jobs", "6")
    yield started
    started.stop()


def why(job: Job) -> list[ReasonCode | None]:
    """Return how each attempt ended."""
    return [attempt.reason.code if attempt.reason else None for attempt in job.attempts]


def own_ray(folder: Path) -> list[psutil.Process]:
    """Return raylet and GCS of the server's own Ray."""
    mark = json.loads((folder / "local" / "head.json").read_text())["id"]
    found = psutil.process_iter(["name", "environ"])  # what ends meanwhile, as those of other tests may, is left out
    named = [p for p in found if p.info["name"] in {"gcs_server", "raylet"}]
    return [process for process in named if (process.info["environ"] or {}).get("RAYSVC_HEAD") == mark]


def driver_log(folder: Path, job: Job) -> str:
    """Return what the first attempt's driver has written, past the server."""
    return "".join(path.read_text() for path in folder.glob(f"work/ray/session_2*/logs/job-driver-job-{job.uid}-1.log"))


@contextmanager
def silent_index() -> Iterator[list[str]]:
    """Yield a runtime_env.pip that waits for an answer as long as this lasts."""
    with socket.create_server(("127.0.0.1", 0)) as index:
        yield [f"--index-url http://127.0.0.1:{index.getsockname()[1]}/simple", "nothing"]


def test_rays_death_finds_a_job_in_each_phase_and_each_ends_as_it_truly_did(server: Server) -> None:
    jobs = server.client.jobs
    runs = jobs.submit(entrypoint=WAITS)
    never_again = jobs.submit(entrypoint="echo up; sleep 600", retry={"infrastructure": 0})
    ends = jobs.submit(entrypoint=WAITS)
    stopped = jobs.submit(entrypoint=HOLDS_ON)
    # Its environment is never built: it stays with Ray, pending.
    with silent_index() as pip:
        starts = jobs.submit(entrypoint="true", runtime_env={"pip": pip}, retry={"infrastructure": 0})
        for job in (runs, never_again, ends, stopped):
            server.until(job, _P.RUNNING)
        eventually(lambda: jobs.get(starts.id).reason.code is _C.STARTING_ON_RAY, RUN_S)
        eventually(lambda: "up" in server.said(stopped), RUN_S)
        jobs.stop(stopped.id)
        server.until(stopped, _P.STOPPING)

        server.process.suspend()  # so that it does not see this one's end
        server.let_go(ends)
        eventually(lambda: "over\n" in driver_log(server.folder, ends), RUN_S)
        for process in own_ray(server.folder):
            with suppress(psutil.NoSuchProcess):  # the end of one takes others along
                process.kill()
        server.process.resume()
        # Perhaps it still is handed to the Ray that has just died.
        waits = jobs.submit(entrypoint="echo waited")

    found = jobs.wait(starts.id, RUN_S)
    assert (found.phase, found.reason.code, found.attempt) == (_P.FAILED, _C.CLUSTER_LOST, 1)
    found = jobs.wait(never_again.id, RUN_S)
    assert (found.phase, found.reason.code, found.attempt) == (_P.FAILED, _C.CLUSTER_LOST, 1)
    assert "head was lost" in found.reason.message
    found = jobs.wait(stopped.id, RUN_S)
    assert (found.phase, found.reason.code, found.attempt) == (_P.CANCELLED, _C.STOPPED, 1)
    again = jobs.wait(runs.id, RUN_S, until=lambda job: job.attempt == 2 and job.phase is _P.RUNNING)
    assert why(again) == [_C.CLUSTER_LOST, None]
    server.let_go(runs)
    assert jobs.wait(runs.id, RUN_S).phase is _P.SUCCEEDED
    # Nobody can know that it had ended well: it is run again, from its checkpoint, and its log has both.
    found = jobs.wait(ends.id, RUN_S)
    assert (found.phase, why(found)) == (_P.SUCCEEDED, [_C.CLUSTER_LOST, _C.SUCCEEDED])
    assert [line for line in server.said(ends) if line in {"attempt 1", "attempt 2", "over"}] == [
        "attempt 1", "over", "attempt 2", "over",
    ]  # fmt: skip
    found = jobs.wait(waits.id, RUN_S)
    assert (found.phase, why(found)) == (_P.SUCCEEDED, [_C.SUCCEEDED])


@pytest.fixture
def given() -> Iterator[GivenRay]:
    ray = GivenRay()
    try:
        ray.start()
        yield ray
    finally:
        ray.remove()


def supervisor(job: Job) -> psutil.Process:
    """Return Ray's own process above the driver of a job."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            parent = process.parent()
            if process.environ().get("RAYSVC_JOB_ID") == job.id and parent and "JobSupervisor" in parent.cmdline()[0]:
                return parent
    raise AssertionError(job.id)


# Two nodes on one machine: one time in some, Ray starts nothing on them for minutes.
@pytest.mark.long
def test_a_node_cut_off_a_supervisor_killed_and_a_table_lost_are_told_apart(given: GivenRay, tmp_path: Path) -> None:
    server = Server(tmp_path / "data", "--ray-address", given.url)
    try:
        jobs = server.client.jobs
        raylet = given.join()
        server.ready()
        far = jobs.submit(entrypoint=WAITS, resources={"custom": {"far": 1}})
        near = jobs.submit(entrypoint=WAITS)
        far, near = server.until(far, _P.RUNNING), server.until(near, _P.RUNNING)
        assert far.attempts[0].node != near.attempts[0].node

        raylet.suspend()
        lost = jobs.wait(far.id, RUN_S, until=lambda job: job.attempts[0].reason is not None)
        assert why(lost)[0] is _C.DRIVER_LOST
        assert lost.attempts[0].reason is not None
        assert "node" in lost.attempts[0].reason.message
        # No other node has what it asks for: it waits, and says so, until one has.
        eventually(lambda: jobs.get(far.id).reason.code is _C.EXCEEDS_CAPACITY, RUN_S)
        raylet.resume()  # it hears that it was given up, and ends what still ran there
        eventually(lambda: not raylet.is_running(), RUN_S)
        given.join()
        server.let_go(far)
        found = jobs.wait(far.id, RUN_S)
        assert (found.phase, why(found)) == (_P.SUCCEEDED, [_C.DRIVER_LOST, _C.SUCCEEDED])

        supervisor(near).kill()
        near = jobs.wait(near.id, RUN_S, until=lambda job: job.attempt == 2 and job.phase is _P.RUNNING)
        assert why(near) == [_C.DRIVER_LOST, None]

        given.kill()
        given.start()
        near = jobs.wait(near.id, RUN_S, until=lambda job: job.attempt == 3 and job.phase is _P.RUNNING)
        assert why(near) == [_C.DRIVER_LOST, _C.CLUSTER_LOST, None]
        server.let_go(near)
        assert jobs.wait(near.id, RUN_S).phase is _P.SUCCEEDED
        said = [line for line in server.said(near) if line in {"attempt 1", "attempt 2", "attempt 3", "over"}]
        assert said == ["attempt 1", "attempt 2", "attempt 3", "over"]
    finally:
        server.stop()
