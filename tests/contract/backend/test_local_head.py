"""The life of a head of our own: adopted, replaced, ended without a trace; and a Ray that somebody else runs."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from raysvc.backends.local import LocalBackend, LocalConfig
from raysvc.backends.local.head import HeadFiles, alive, first_process, free_port
from raysvc.backends.rayjob.api import RayApi
from raysvc.backends.rayjob.restlog import RestLog
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.job import Job
from raysvc.domain.observation import Observation, Seen
from tests.contract.backend.lab import LOOK_S, READY_S, Lab, MemoryMaterials, SystemClock, ready, ref_of, running

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.ray]

AS_ROOT = os.geteuid() == 0
# A server that is killed while its Ray runs a job.
SERVER = """
import asyncio, sys
from pathlib import Path
from raysvc.backends.local import LocalConfig
from tests.contract.backend.lab import ref_of, running

async def main():
    async with running(LocalConfig(data_dir=Path(sys.argv[1]))) as lab:
        job = lab.job(sys.argv[2])
        await lab.backend.jobs.apply(job)
        while True:
            seen = await lab.backend.jobs.observe(ref_of(job))
            if seen.seen in {"RUNNING", "SUCCEEDED", "FAILED"}:
                print(job.model_dump_json(), flush=True)
                await asyncio.sleep(600)
            await asyncio.sleep(0.05)

asyncio.run(main())
"""


@pytest.fixture
def mark() -> Iterator[str]:
    """Return a word for a command line; at the end no process may have it any more."""
    word = f"sleep {secrets.randbelow(10**9) + 10**6}"
    yield word
    assert not having(word)


def having(command: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == command.split()]


def tree(data_dir: Path) -> list[psutil.Process]:
    """Return the processes of the head of a data directory, its first one first."""
    state = HeadFiles(data_dir).read()
    first = first_process(state) if state else None
    return [first, *first.children(recursive=True)] if first else []


def part(data_dir: Path, name: str) -> psutil.Process:
    for process in tree(data_dir):
        with suppress(psutil.NoSuchProcess):
            if name in " ".join(process.cmdline()):
                return process
    raise AssertionError(name)


def listening(processes: list[psutil.Process]) -> set[str]:
    """Return the addresses they listen on."""
    found = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            sockets = process.net_connections("inet")
            found |= {item.laddr.ip.removeprefix("::ffff:") for item in sockets if item.status == psutil.CONN_LISTEN}
    return found


def links() -> set[str]:
    return {str(path) for path in Path("/tmp").glob("raysvc-*") if path.is_symlink()}  # noqa: S108 where they are made


async def left(processes: list[psutil.Process]) -> list[str]:
    """Return which of them live; they are given a moment to go."""
    for _ in range(600):
        if not (living := [str(process) for process in processes if alive(process)]):
            break
        await asyncio.sleep(0.1)
    return living


async def phase(backend: LocalBackend, wanted: Callable[[Cluster], bool]) -> Cluster:
    deadline = time.monotonic() + READY_S
    while not wanted(cluster := await backend.clusters.get("local")):
        assert time.monotonic() < deadline, f"still {cluster.phase}: {cluster.reason}"
        await asyncio.sleep(LOOK_S)
    return cluster


def killed_server(python: str | Path, data_dir: Path, entrypoint: str) -> bytes:
    """Run a server until its job runs, kill it, and return the job as JSON."""
    command = [str(python), "-c", SERVER, str(data_dir), entrypoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout
        lines = iter(server.stdout.readline, b"")
        job = next(line for line in lines if line.startswith(b"{"))
        server.kill()
    return job


def hidden_python(folder: Path) -> Path:
    """Make an environment with our packages below a folder that only we may enter."""
    folder.mkdir(mode=0o700)
    (folder / "beside").write_text("not for jobs")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    (site,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    (site / "real.pth").write_text(f"{Path(psutil.__file__).parents[1]}\n{Path.cwd()}\n")
    return folder / "venv" / "bin" / "python"


async def seen_running(lab: Lab, entrypoint: str) -> Job:
    job = lab.job(entrypoint)
    await lab.backend.jobs.apply(job)

    async def look() -> Observation | None:
        seen = await lab.backend.jobs.observe(ref_of(job))
        return seen if seen.seen is Seen.RUNNING else None

    await lab.until(look)
    return job


async def test_a_head_outlives_a_killed_server_and_is_adopted(tmp_path: Path, mark: str) -> None:
    line = await asyncio.to_thread(killed_server, sys.executable, tmp_path, f"echo before; {mark}; echo after")
    before = tree(tmp_path)
    assert before
    async with running(LocalConfig(data_dir=tmp_path)) as lab:
        assert tree(tmp_path)[0] == before[0]
        ref = ref_of(lab.job("true").model_validate_json(line))
        assert (await lab.backend.jobs.observe(ref)).seen is Seen.RUNNING
        assert [found async for found in lab.backend.jobs.owned()] == [ref]
        having(mark)[0].kill()
        assert (await lab.ended(ref)).seen is Seen.SUCCEEDED
        assert b"after\n" in await lab.log(ref, follow=True)
    assert await left(before) == []


async def test_a_head_that_loses_a_part_is_replaced_and_leaves_nothing(tmp_path: Path, mark: str) -> None:
    async with running(LocalConfig(data_dir=tmp_path, unhealthy_after_s=4)) as lab:
        backend = lab.backend
        assert isinstance(backend, LocalBackend)
        for name, number in (("gcs_server", signal.SIGKILL), ("dashboard.py", signal.SIGSTOP)):
            job = await seen_running(lab, f"echo last words; {mark}")
            before = tree(tmp_path)
            part(tmp_path, name).send_signal(number)
            cluster = await phase(backend, lambda cluster: cluster.phase is not ClusterPhase.READY)
            assert cluster.reason
            assert (await backend.jobs.observe(ref_of(job))).seen is Seen.UNKNOWN
            await ready(backend)
            assert tree(tmp_path)[0] not in before
            assert await left(before) == [], name
            assert (await backend.jobs.observe(ref_of(job))).seen is Seen.ABSENT
            assert b"last words\n" in await lab.log(ref_of(job))
            assert not having(mark)
        await seen_running(lab, mark)
        before = tree(tmp_path)
        before[0].kill()
        await phase(backend, lambda cluster: cluster.phase is ClusterPhase.STARTING)
        assert await left(before) == []
        # And so to the end, while the next one is still starting.


async def test_close_ends_even_what_hides(tmp_path: Path, mark: str) -> None:
    """After a long path, a port that was taken, a change of servers, and with a daemon that shook off all of Ray."""
    config = LocalConfig(data_dir=tmp_path / ("long-" * 20))
    config.data_dir.mkdir(mode=0o700)
    clock, materials = SystemClock(), MemoryMaterials()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1]])
        first = LocalBackend(config, materials, clock, choose_port=lambda: next(ports, free_port()))
        await first.start()
        await phase(first, lambda cluster: cluster.reason is not None and "ended before" in cluster.reason.message)
        await ready(first)
    lab = Lab(first, clock, materials, asyncio.sleep)
    assert (await lab.run(lab.job(f"(setsid env -i {mark} &) ; echo started"))).seen is Seen.SUCCEEDED
    state = HeadFiles(config.data_dir).read()
    assert state
    assert state.base in links()
    before = tree(config.data_dir)
    await first.close(leave_running=True)
    assert having(mark)
    async with running(config):
        assert tree(config.data_dir)[0] == before[0]
        assert listening(before) == {"127.0.0.1"}
    assert await left(before) == []
    assert state.base not in links()


async def test_a_ray_that_runs_already_is_used_and_left_alone(local: Lab, tmp_path: Path) -> None:
    endpoint = await local.backend.endpoint("local")  # type: ignore[attr-defined]
    mine = tmp_path / "mine"
    mine.mkdir()
    token_file = tmp_path / "token"
    token_file.write_text(endpoint.headers["authorization"].removeprefix("Bearer ") + "\n")
    theirs = local.job("true")
    await local.run(theirs)
    config = LocalConfig(data_dir=mine, ray_address=endpoint.url, ray_token_file=token_file)
    async with running(config) as lab:
        cluster = await lab.backend.clusters.get("local")
        assert cluster.resources == (await local.backend.clusters.get("local")).resources
        assert cluster.free_memory
        lab.materials.secrets["default", "WORD"] = "mellon"
        job = lab.job("echo here; printenv WORD; printf 'a\\rb\\303\\251\\n'", secrets={"WORD": "WORD"})
        assert (await lab.run(job)).seen is Seen.SUCCEEDED
        log = await lab.log(ref_of(job))
        assert b"mellon\n" in log
        owned = {ref async for ref in lab.backend.jobs.owned()}
        assert ref_of(job) in owned
        assert ref_of(theirs) not in owned
        api = RayApi(endpoint.url, token_file.read_text().strip())

        async def far() -> RayApi:
            return api

        async def over() -> bool:
            return True

        rest = RestLog(far, ref_of(job), SystemClock())
        assert b"".join([chunk async for chunk in rest.read(0, None)]) == log
        assert b"".join([chunk async for chunk in rest.read(len(log) - 3, over)]) == log[-3:]
        await api.close()
        await lab.backend.jobs.delete(ref_of(job))
    assert (await local.backend.clusters.get("local")).phase is ClusterPhase.READY
    assert (await local.backend.jobs.observe(ref_of(theirs))).seen is Seen.SUCCEEDED


async def test_a_wrong_token_and_a_wrong_address_are_said(local: Lab, tmp_path: Path) -> None:
    endpoint = await local.backend.endpoint("local")  # type: ignore[attr-defined]
    (tmp_path / "token").write_text("wrong")
    for address, token, text in (
        (endpoint.url, tmp_path / "token", "refuses our token"),
        (endpoint.url, tmp_path / "none", "cannot be read"),
        (f"http://127.0.0.1:{free_port()}", None, "does not answer"),
    ):
        config = LocalConfig(data_dir=tmp_path, ray_address=address, ray_token_file=token)
        backend = LocalBackend(config, MemoryMaterials(), SystemClock())
        await backend.start()
        cluster = await phase(backend, lambda cluster: cluster.phase is ClusterPhase.FAILED)
        assert cluster.reason
        assert text in cluster.reason.message
        assert (await backend.jobs.observe(ref_of(local.job("true")))).seen is Seen.UNKNOWN
        await backend.close()


@pytest.mark.skipif(not AS_ROOT, reason="only a server of root's has another user to hide things from")
async def test_a_python_that_only_root_can_reach_is_shown_to_the_jobs_user(tmp_path: Path) -> None:
    """As where raysvc is installed under /root: the environment is exposed, and nothing beside it."""
    hidden = tmp_path / "hidden"
    python = await asyncio.to_thread(hidden_python, hidden)
    command = f"python -c 'import sys, os; print(sys.prefix, os.getuid() > 0)'; cat {hidden}/beside; ls -A {hidden}"
    line = await asyncio.to_thread(killed_server, python, tmp_path / "data", command)
    async with running(LocalConfig(data_dir=tmp_path / "data")) as lab:
        ref = ref_of(lab.job("true").model_validate_json(line))
        await lab.ended(ref)
        log = (await lab.log(ref)).decode()
    assert f"{hidden}/venv True\n" in log
    assert "not for jobs" not in log
    assert "venv" in log.splitlines()
    assert "beside" not in log.splitlines()
