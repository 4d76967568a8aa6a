"""Programs that run and end, and the progress that we tell."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.cluster.failure import ClusterError

_BEGAN = time.monotonic()
_POLL_S = 0.05


def say(text: str) -> None:
    sys.stderr.write(f"{time.monotonic() - _BEGAN:6.1f} s  {text}\n")
    sys.stderr.flush()


def run(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, given: str | None = None
) -> str:
    """Return what the command wrote. `env` adds to ours; raises ClusterError with its last lines if it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = " ".join(map(str, command[:4]))
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise ClusterError(f"`{words} …` failed (exit {done.returncode}):\n{last}")
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def wait_until(holds: Callable[[], bool], what: str, *, within_s: float) -> None:
    """Return once it holds. Raises ClusterError after `within_s`."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not after {within_s:.0f} s")
        time.sleep(_POLL_S)
