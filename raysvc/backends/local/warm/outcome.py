"""How a run ended, in the words of Ray's JobDetails (ray/dashboard/modules/job/job_supervisor.py)."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from .ledger import MOST_TEXT

# As many of a log's last lines stand in the message of a failure as Ray puts there.
_LAST_LINES = 10


def ended(code: int, log: Path, *, stopped: bool, fault: str | None) -> dict[str, Any]:
    """Return the end of a run with that exit code. `fault`: why its environment could not be made."""
    if stopped:
        return {"status": "STOPPED", "message": "Job was intentionally stopped."}
    if fault is not None:
        return {"status": "FAILED", "message": fault, "error_type": "RUNTIME_ENV_SETUP_FAILURE"}
    if code == 0:
        return {"status": "SUCCEEDED", "message": "Job finished successfully.", "driver_exit_code": 0}
    tail = _tail(log)
    said = f", last available logs (truncated to 20,000 chars):\n{tail}" if tail else ". No logs available."
    return {
        "status": "FAILED",
        "message": f"Job entrypoint command failed with exit code {code}{said}",
        "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR",
        "driver_exit_code": code,
    }


def not_started(error: Exception) -> dict[str, Any]:
    """Return the end of a run that could not be started: nothing is wrong with it."""
    return {"status": "FAILED", "message": str(error), "error_type": "JOB_ENTRYPOINT_COMMAND_START_ERROR"}


def _tail(log: Path) -> str:
    with suppress(OSError), log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MOST_TEXT))
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
        return "".join(lines[-_LAST_LINES:])
    return ""
