"""What the server asks a pool to run, and what the started process makes of itself before the entrypoint begins."""

import ctypes
import os
import signal
import stat
import sys
import tarfile
import traceback
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .ledger import Ledger

# linux/prctl.h
PR_SET_PDEATHSIG = 1
SHELL = "/bin/sh"  # as Ray's job server has it
# What Python changes for itself at its start, and a fresh process would not have inherited.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)
FAILED = 1


@dataclass(frozen=True)
class Request:
    """One run. `variables` are set over the pool's own; `config` is the JobConfig that `ray.init` finds."""

    id: str
    entrypoint: str
    variables: dict[str, str]
    config: dict[str, Any]
    log: str
    node: str
    package: str | None = None  # the working directory, as an archive
    folder: str = ""  # where it is unpacked; the pool removes it after the end


def prepare(request: Request, ledger: Ledger, mask: set[int | signal.Signals], pool: int) -> None:
    """Make this forked process a session of its own, with the run's log, folder and nothing else of the pool's.

    `pool` is the process that forked this one, `mask` what it had blocked. Ends it where something fails, and says why.
    """
    try:
        os.setsid()
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != pool:
            os._exit(FAILED)
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _redirect(Path(request.log))
        os.write(1, f"Running entrypoint for job {request.id}: {request.entrypoint}\n".encode())  # as Ray does
        if request.package:
            unpack(Path(request.package), Path(request.folder))
            os.chdir(request.folder)
    except Exception:  # noqa: BLE001 whatever it is, the run must end and say so
        ledger.fault(request.id).write_text(traceback.format_exc())
        os._exit(FAILED)


def become_shell(entrypoint: str, environment: dict[str, str]) -> NoReturn:
    """Replace this process by a shell that runs the entrypoint."""
    # Python ignores SIGPIPE, and what is ignored is inherited: `yes | head` would never end.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execve(SHELL, [SHELL, "-c", entrypoint], environment)  # noqa: S606 the entrypoint is a shell's, as in Ray


def _redirect(log: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def unpack(package: Path, folder: Path) -> None:
    """Unpack an archive as Ray does from gcs://: as it is, nothing outside the folder, no links that lead out of it."""
    folder.mkdir(mode=0o700)
    if package.name.endswith(".zip"):
        with zipfile.ZipFile(package) as archive:
            for entry in archive.infolist():
                _unpack_entry(archive, entry, folder)
    else:
        with tarfile.open(package) as archive:
            archive.extractall(folder, filter="data")


def _unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    parts = Path(entry.filename).parts
    if entry.filename.startswith("/") or "\\" in entry.filename or ".." in parts:
        raise ValueError(f"{entry.filename!r} leads out of the package")
    target = archive.extract(entry, folder)
    mode = stat.S_IMODE(entry.external_attr >> 16)
    if mode and not entry.is_dir():
        Path(target).chmod(0o600 | mode & 0o777)
