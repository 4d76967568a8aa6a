"""What Ray says of a job, in our words."""

import re
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from raysvc.domain.observation import ENDED, Observation, Seen
from raysvc.domain.reason import ReasonCode

_C = ReasonCode
# JobStatus of ray/dashboard/modules/job/common.py; a word that is not here moves nothing.
_SEEN: Mapping[str, Seen] = {
    "PENDING": Seen.PENDING,
    "RUNNING": Seen.RUNNING,
    "SUCCEEDED": Seen.SUCCEEDED,
    "FAILED": Seen.FAILED,
    "STOPPED": Seen.STOPPED,
}
# JobErrorType of the same file -> why a FAILED job failed.
_CAUSE: Mapping[str, ReasonCode] = {
    # pip, conda, working_dir … could not be set up
    "RUNTIME_ENV_SETUP_FAILURE": _C.RUNTIME_ENV_FAILED,
    # not started within RAY_JOB_START_TIMEOUT_SECONDS (900 s)
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": _C.START_TIMED_OUT,
    # the actor's options were refused (see _REFUSED), or it was lost before it began
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": _C.DRIVER_LOST,
    # the node it must run on is gone
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": _C.DRIVER_LOST,
    "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE": _C.DRIVER_LOST,
    # killed, out of memory, or its node died
    "JOB_SUPERVISOR_ACTOR_DIED": _C.DRIVER_LOST,
    # the shell could not be started at all: no processes or memory left
    "JOB_ENTRYPOINT_COMMAND_START_ERROR": _C.DRIVER_LOST,
    "JOB_ENTRYPOINT_COMMAND_ERROR": _C.ENTRYPOINT_FAILED,
}
# Ray cuts the log lines that it quotes at 20,000 characters, and puts some words of its own before them.
_MOST_TEXT = 24_000
# What a shell exits with for a command that is not there, or that it may not run (POSIX, Shell & Utilities 2.8.2).
_NOT_FOUND = frozenset({126, 127})
# Ray's text for a START_FAILURE that the submission itself caused, and the exception it quotes.
_REFUSED = re.compile(r"Failed to start supervisor actor [^:]*: '(?P<why>.*?)'\. Full traceback", re.DOTALL)
# Where the quoted traceback of such a refusal passes, if the runtime_env is what is wrong.
_ENV_CODE = "/runtime_env/"
# Delivered, but collected by Ray before it was used (its pin lasts 10 minutes): delivering it again helps.
_PACKAGE_GONE = "Failed to download runtime_env file package"


def observation(record: Mapping[str, Any]) -> Observation:
    """Return what a job's record (JobDetails of Ray's API) says; UNKNOWN for one that makes no sense."""
    seen = _SEEN.get(str(record.get("status")), Seen.UNKNOWN)
    exit_code = record.get("driver_exit_code")
    message = _text(record.get("message"))
    cause = None
    if seen is Seen.FAILED:
        cause, message = _failure(str(record.get("error_type")), exit_code, message)
    return Observation(
        seen=seen,
        message=message,
        cause=cause,
        exit_code=exit_code if isinstance(exit_code, int) else None,
        node=record.get("driver_node_id") or None,
        # Ray notes when it took the job, and not when the driver began.
        started_at=_instant(record.get("start_time")) if seen in ENDED | {Seen.RUNNING} else None,
        finished_at=_instant(record.get("end_time")),
    )


def _failure(error_type: str, exit_code: object, message: str) -> tuple[ReasonCode, str]:
    if refused := _REFUSED.search(message):
        why = refused["why"].strip()
        return (_C.RUNTIME_ENV_FAILED if _ENV_CODE in message else _C.BACKEND_REFUSED), why
    # Records of Rays before 2.45 have no error_type; a driver that has exited is the entrypoint's own doing.
    cause = _CAUSE.get(error_type, _C.ENTRYPOINT_FAILED if isinstance(exit_code, int) else _C.DRIVER_LOST)
    if cause is _C.RUNTIME_ENV_FAILED and _PACKAGE_GONE in message:
        cause = _C.PACKAGE_MISSING
    if cause is _C.ENTRYPOINT_FAILED and isinstance(exit_code, int):
        if exit_code in _NOT_FOUND:
            cause = _C.ENTRYPOINT_NOT_FOUND
        if killer := _killer(exit_code):
            message = f"{killer}. {message}"
    return cause, message


def _killer(exit_code: int) -> str | None:
    """Name the signal that ended the driver (its own, or as a shell reports that of its last command)."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return None
    hint = " (often the kernel, when memory is short)" if number == signal.SIGKILL else ""
    return f"The driver was ended by {name}{hint}"


def _text(said: object) -> str:
    """Return what a record says, as far as every database keeps it: valid Unicode without NUL, of Ray's own length."""
    return str(said or "")[:_MOST_TEXT].encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _instant(milliseconds: object) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if isinstance(milliseconds, int) else None
