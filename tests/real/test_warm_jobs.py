"""Warm drivers behind a real server: kept over its death, tried again after the pool's, refused where they cannot."""

from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from raysvc.domain.job import JobPhase
from raysvc.domain.reason import ReasonCode
from raysvc.errors import Invalid

from .platform_process import PlatformProcess, eventually
from .test_restart import RUN_S, WAITS, let_go

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def pools(data_dir: Path) -> list[psutil.Process]:
    folder = f"{(data_dir / 'work').resolve()}/warm/pools/"
    found = psutil.process_iter(["cmdline"])
    return [p for p in found if any(part.startswith(folder) for part in p.info["cmdline"] or ())]


def test_warm_jobs_outlive_the_server_and_are_tried_again_after_their_pool(server: PlatformProcess) -> None:
    client = server.start()
    with pytest.raises(Invalid, match="cannot have pip") as caught:
        client.jobs.submit(entrypoint="true", driver="warm", runtime_env={"pip": ["six"]})
    assert caught.value.field == "runtime_env.pip"

    kept = client.jobs.submit(entrypoint=WAITS, driver="warm", name="kept")
    client.jobs.wait(kept.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
    before = {process.pid for process in pools(server.data_dir)}
    server.kill()
    client = server.start()
    beside = client.jobs.submit(entrypoint="echo beside", driver="warm")
    assert client.jobs.wait(beside.id, RUN_S).phase is JobPhase.SUCCEEDED
    assert {process.pid for process in pools(server.data_dir)} == before
    let_go(server, kept.uid)
    ended = client.jobs.wait(kept.id, RUN_S)
    assert (ended.phase, ended.attempt, ended.spec.driver) == (JobPhase.SUCCEEDED, 1, "warm")
    said = "".join(client.jobs.logs(kept.id)).splitlines()
    assert (said.count("begun attempt 1"), said.count("ended")) == (1, 1)

    lost = client.jobs.submit(entrypoint=WAITS, driver="warm", retry={"backoff_s": 0})
    client.jobs.wait(lost.id, RUN_S, until=lambda job: job.phase is JobPhase.RUNNING)
    for process in eventually(lambda: pools(server.data_dir), RUN_S):
        with suppress(psutil.NoSuchProcess):  # the end of one takes others along
            process.kill()
    again = client.jobs.wait(lost.id, RUN_S, until=lambda job: job.attempt == 2 and job.phase is JobPhase.RUNNING)
    assert again.attempts[0].reason is not None
    assert again.attempts[0].reason.code is ReasonCode.DRIVER_LOST
    let_go(server, lost.uid)
    assert client.jobs.wait(lost.id, RUN_S).phase is JobPhase.SUCCEEDED

    quick = client.jobs.submit(entrypoint="python -c 'print(6 * 7)'", driver="warm")
    stopped = client.jobs.submit(entrypoint="sleep 600", driver="warm")
    assert client.jobs.wait(quick.id, RUN_S).phase is JobPhase.SUCCEEDED
    assert "42\n" in "".join(client.jobs.logs(quick.id))
    client.jobs.stop(stopped.id)
    assert client.jobs.wait(stopped.id, RUN_S).phase is JobPhase.CANCELLED
