"""A job's whole life through Ray's SDK, for the interpreter of any Ray from 2.40 on: ADDRESS TOKEN FOLDER.

A program, not a test: it is run with each Ray's own Python, so it imports nothing of ours. It fails with a traceback.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray.job_submission import JobStatus, JobSubmissionClient

ENDED = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}
METADATA = {"raysvc.priority": "3", "raysvc.label.team": "vision", "owner": "me"}


def main(address: str, token: str, folder: str) -> None:
    client = JobSubmissionClient(address, headers={"Authorization": f"Bearer {token}"})
    assert int(client.get_version()) > 0
    # The first Rays tell the status, later ones explain tokens.
    wrong = {"Authorization": "Bearer wrong"}
    refused(lambda: JobSubmissionClient(address, headers=wrong), "403", or_else="Authentication failed")
    succeeds(client, Path(folder))
    fails(client)
    is_stopped(client)
    asyncio.run(is_followed(client))
    sys.stdout.write(f"ray {ray.__version__}: ok\n")


def succeeds(client: JobSubmissionClient, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.py").write_text(f"print('made for ray {ray.__version__}')")
    job_id = client.submit_job(
        entrypoint="echo hello wörld; printenv GREETING",
        runtime_env={"working_dir": str(folder), "env_vars": {"GREETING": "good day"}},
        metadata=METADATA,
        entrypoint_num_cpus=0.5,
        entrypoint_memory=1 << 20,
    )
    assert job_id.startswith("raysubmit_"), job_id
    assert until_ended(client, job_id) == JobStatus.SUCCEEDED
    assert client.get_job_logs(job_id) == "hello wörld\ngood day\n", client.get_job_logs(job_id)
    info = client.get_job_info(job_id)
    assert info.submission_id == job_id
    assert info.metadata == METADATA, info.metadata
    runtime_env = info.runtime_env or {}
    assert runtime_env["working_dir"].startswith("gcs://_ray_pkg_"), info
    assert runtime_env["env_vars"] == {"GREETING": "good day"}, info
    assert 0 < (info.start_time or 0) <= (info.end_time or 0), info
    assert info.message == "Job finished successfully.", info.message
    again = client.submit_job(entrypoint="true", runtime_env={"working_dir": str(folder)})
    assert client.get_job_info(again).runtime_env == {"working_dir": runtime_env["working_dir"]}
    assert [job.submission_id for job in client.list_jobs()[:2]] == [again, job_id]


def fails(client: JobSubmissionClient) -> None:
    job_id = f"fails-{ray.__version__}"
    client.submit_job(entrypoint="echo no; exit 3", submission_id=job_id)
    assert until_ended(client, job_id) == JobStatus.FAILED
    info = client.get_job_info(job_id)
    assert info.driver_exit_code == 3, info
    assert info.error_type == "JOB_ENTRYPOINT_COMMAND_ERROR", info
    refused(
        lambda: client.submit_job(entrypoint="true", submission_id=job_id),
        "status code 500",
        "Please use a different submission_id.",
    )
    refused(lambda: client.submit_job(entrypoint="true", metadata={"raysvc.nope": "1"}), "status code 400", "nope")
    refused(lambda: client.get_job_info("nobody"), "404", "Job nobody does not exist")
    refused(lambda: client.get_job_logs("nobody"), "404", "Job nobody does not exist")


def is_stopped(client: JobSubmissionClient) -> None:
    job_id = client.submit_job(entrypoint="echo begun; sleep infinity")
    until(lambda: client.get_job_status(job_id) == JobStatus.RUNNING)
    refused(lambda: client.delete_job(job_id), "500", "is in a non-terminal state RUNNING")
    assert client.stop_job(job_id) is True
    assert until_ended(client, job_id) == JobStatus.STOPPED
    assert str(client.get_job_info(job_id).message).startswith("Job was intentionally stopped.")
    assert client.stop_job(job_id) is False
    assert client.delete_job(job_id) is True
    refused(lambda: client.get_job_status(job_id), "404", "does not exist")


async def is_followed(client: JobSubmissionClient) -> None:
    job_id = client.submit_job(entrypoint="echo one; sleep 0.5; echo two €; sleep 0.5; echo three")
    assert "".join([piece async for piece in client.tail_job_logs(job_id)]) == "one\ntwo €\nthree\n"
    assert client.get_job_status(job_id) == JobStatus.SUCCEEDED
    # What was said comes while the job goes on: this one ends only when that was seen.
    job_id = client.submit_job(entrypoint="echo begun; sleep infinity")
    async for piece in client.tail_job_logs(job_id):
        assert piece == "begun\n", piece
        assert client.stop_job(job_id) is True
    assert client.get_job_status(job_id) == JobStatus.STOPPED


def until_ended(client: JobSubmissionClient, job_id: str) -> JobStatus:
    until(lambda: client.get_job_status(job_id) in ENDED)
    return client.get_job_status(job_id)


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def refused(call: Callable[[], object], *said: str, or_else: str = "\0") -> None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 each Ray raises its own
        text = f"{type(error).__name__}: {error}"
        assert or_else in text or all(part in text for part in said), text
    else:
        raise AssertionError(f"not refused; should say {said}")


main(*sys.argv[1:])
