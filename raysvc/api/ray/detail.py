"""A job as Ray's clients read it (JobDetails, ray/dashboard/modules/job/pydantic_models.py). Pure."""

from datetime import datetime
from typing import Any

from raysvc.domain.job import Job, JobPhase
from raysvc.domain.reason import Reason, ReasonCode
from raysvc.domain.resources import Resources

# Ray knows five words, and its client refuses any other.
_STATUS = {
    JobPhase.QUEUED: "PENDING",
    JobPhase.STARTING: "PENDING",
    JobPhase.RUNNING: "RUNNING",
    JobPhase.SUCCEEDED: "SUCCEEDED",
    JobPhase.FAILED: "FAILED",
    JobPhase.CANCELLED: "STOPPED",
}
# JobErrorType, ray/dashboard/modules/job/common.py. Ray has no word for a timeout of ours, nor for other ends by rule.
_ERROR_TYPE = {
    ReasonCode.RUNTIME_ENV_FAILED: "RUNTIME_ENV_SETUP_FAILURE",
    ReasonCode.PACKAGE_MISSING: "RUNTIME_ENV_SETUP_FAILURE",
    ReasonCode.PACKAGE_DAMAGED: "RUNTIME_ENV_SETUP_FAILURE",
    ReasonCode.SECRET_MISSING: "RUNTIME_ENV_SETUP_FAILURE",
    ReasonCode.START_TIMED_OUT: "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
    ReasonCode.BACKEND_REFUSED: "JOB_SUPERVISOR_ACTOR_START_FAILURE",
    ReasonCode.DRIVER_LOST: "JOB_SUPERVISOR_ACTOR_DIED",
    ReasonCode.CLUSTER_LOST: "JOB_SUPERVISOR_ACTOR_DIED",
    # A shell starts the entrypoint, so one that is not there is an exit code (127) to Ray.
    ReasonCode.ENTRYPOINT_NOT_FOUND: "JOB_ENTRYPOINT_COMMAND_ERROR",
    ReasonCode.ENTRYPOINT_FAILED: "JOB_ENTRYPOINT_COMMAND_ERROR",
}
# Ray's own sentences (JobInfo.__post_init__): scripts look for their beginnings.
_NOT_STARTED = "Job has not started yet."
_RESOURCES = " It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become available."
_ENVIRONMENT = " It may be waiting for the runtime environment to be set up."
_MESSAGE = {
    "RUNNING": "Job is currently running.",
    "STOPPED": "Job was intentionally stopped.",
    "SUCCEEDED": "Job finished successfully.",
    "FAILED": "Job failed.",
}


def status(job: Job) -> str:
    """Return Ray's word for the job's phase. A job that is being stopped is, to Ray, still what it was."""
    if job.phase is JobPhase.STOPPING:
        return "PENDING" if job.attempt_started_at is None else "RUNNING"
    return _STATUS[job.phase]


def details(job: Job, why: Reason, position: int | None = None) -> dict[str, Any]:
    """Return the job as a JobDetails in JSON. `why` and `position` are what is known of it now.

    Its `runtime_env` and `metadata` are as the client sent them. `raysvc` is ours; Ray's client leaves it out.
    """
    attempt = job.attempts[-1] if job.attempts else None
    return {
        "type": "SUBMISSION",
        "job_id": None,
        "submission_id": job.id,
        "driver_info": None,
        "status": status(job),
        "entrypoint": job.spec.entrypoint,
        "message": _message(job, why, position),
        "error_type": _ERROR_TYPE.get(job.reason.code) if job.phase is JobPhase.FAILED else None,
        "start_time": _milliseconds(job.started_at or job.created_at),
        "end_time": _milliseconds(job.finished_at),
        "metadata": job.spec.metadata,
        "runtime_env": job.spec.runtime_env,
        "driver_agent_http_address": None,
        "driver_node_id": attempt.node if attempt else None,
        "driver_exit_code": attempt.exit_code if attempt else None,
        "raysvc": {
            "uid": job.uid,
            "project": job.project,
            "owner": job.owner,
            "phase": job.phase,
            "reason": why.model_dump(mode="json"),
            "queue": job.spec.queue,
            "priority": job.spec.priority,
            "queue_position": position,
            "attempt": job.attempt,
            "cluster": job.cluster,
            "created_at": job.created_at.isoformat(),
        },
    }


def _message(job: Job, why: Reason, position: int | None) -> str:
    word = status(job)
    if word == "PENDING":
        queued = job.phase is JobPhase.QUEUED
        text = _NOT_STARTED
        if queued or job.spec.demand() != Resources():
            text += _RESOURCES
        if job.spec.runtime_env and not queued:
            text += _ENVIRONMENT
        place = f" Number {position} in line." if position else ""
        return f"{text}{place} {_sentence(why)}"
    plain = _MESSAGE[word]
    if word == "FAILED":
        return _sentence(why)
    if job.phase is JobPhase.STOPPING or why.message:
        return f"{plain} {_sentence(why)}"
    return plain


def _sentence(why: Reason) -> str:
    return f"{why.title}: {why.message}" if why.message else f"{why.title}."


def _milliseconds(at: datetime | None) -> int | None:
    """Return the instant as Ray's client takes it: a whole number, since it refuses a fraction."""
    return None if at is None else int(at.timestamp() * 1000)
