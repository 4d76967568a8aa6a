"""The first process of a Ray head: confines it, is init to it, and leaves nothing behind.

Run as a script, never imported by the server. Ray's agents outlive a raylet that is killed, and what a job daemonises
outlives Ray; here every orphan below becomes a child of this process (PR_SET_CHILD_SUBREAPER), which ends them all when
Ray ends or when it is told to (SIGTERM). It belongs to no session of the server's and outlives it on purpose.
"""

import argparse
import ctypes
import os
import pwd
import signal
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

LINUX = sys.platform == "linux"
# linux/prctl.h, linux/sched.h, linux/mount.h
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
EXEC_FAILED = 127
# Between SIGTERM and SIGKILL. Longer helps nobody: told to end all at once, Ray's parts wait for each other for ever,
# and its own watchers kill a driver 1 s after the worker that supervised it.
GRACE_S = 2


def main(arguments: list[str]) -> int:
    """Run a command under this process; return its exit status, 128 and the signal's number where one ended it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--id", help="a word to find this process by")
    parser.add_argument("--detach", type=Path, metavar="LOG", help="go to the background, and write what is said there")
    parser.add_argument("--follow", action="store_true", help="end with the process that starts this one")
    parser.add_argument("--user", help="run the command as this user")
    parser.add_argument("--expose", type=Path, action="append", default=[], help="make reachable for that user")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    user = pwd.getpwnam(options.user) if options.user else None
    # Opened before its folder is hidden.
    log = os.open(options.detach, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if options.detach else None
    if user and options.expose:
        expose(options.expose, user)
    if log is not None:
        detach(log)
    if options.follow:
        follow()
    if LINUX:
        call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signals = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGALRM}
    for number in signals:  # SIGCHLD is dropped where nobody handles it, blocked or not
        signal.signal(number, _ignored)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    if (child := os.fork()) == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        become(user, options.command)
    status = attend(child, signals)
    end_all()
    return status


def attend(child: int, signals: Iterable[signal.Signals]) -> int:
    """Reap all children until `child` has ended; pass SIGTERM on to everything below, then SIGKILL."""
    while True:
        received = signal.sigwait(signals)
        if received in {signal.SIGTERM, signal.SIGINT}:
            send(signal.SIGTERM)
            signal.alarm(GRACE_S)
        elif received == signal.SIGALRM:
            send(signal.SIGKILL)
        for pid, status in reap():
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def reap() -> Iterable[tuple[int, int]]:
    """Yield the children that have ended, with their wait status."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def end_all() -> None:
    """Kill all that is left below. As each dies, its children become ours, until there are none."""
    while send(signal.SIGKILL):
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)


def send(number: signal.Signals) -> int:
    """Send a signal to every process below this one; return how many there were."""
    below = psutil.Process().children(recursive=True)
    for process in below:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return len(below)


def detach(log: int) -> None:
    """Go to the background as a session of our own; the process that was started ends here."""
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)


def follow() -> None:
    """Have SIGTERM when the parent dies, in a session of our own: what kills its group leaves us to end all below."""
    parent = os.getppid()
    os.setsid()
    if LINUX:
        call("prctl", PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXEC_FAILED)


def become(user: pwd.struct_passwd | None, command: list[str]) -> NoReturn:
    """Give up what the command must not have, and become it."""
    try:
        parent = os.getppid()
        os.umask(0o077)
        if user:
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        if LINUX:
            call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            # Killed outright, this process must not leave a head that nobody looks after. (A change of user resets it.)
            call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(EXEC_FAILED)
        os.execvp(command[0], command)  # noqa: S606 no shell is wanted
    except OSError as error:
        print(f"{command[0]}: {error}", file=sys.stderr, flush=True)  # noqa: T201 this is a program
    os._exit(EXEC_FAILED)


def expose(paths: Iterable[Path], user: pwd.struct_passwd) -> None:
    """Make folders reachable for a user who may not enter one above them; nothing else of that one shows.

    In a mount namespace of our own, each topmost folder that is closed to the user is covered by an empty one that
    holds only `paths`. What it hides, the user could not have read. Raises OSError where namespaces are not allowed.
    """
    kept: dict[Path, list[Path]] = {}
    for path in paths:
        if closed := next((folder for folder in reversed(path.parents) if not may_enter(folder, user)), None):
            kept.setdefault(closed, []).append(path)
    call("unshare", CLONE_NEWNS)
    # Later mounts of the machine still arrive here; ours never show there.
    call("mount", None, b"/", None, MS_REC | MS_SLAVE, None)
    for closed, inside in kept.items():
        handles = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in inside}
        call("mount", b"tmpfs", bytes(closed), b"tmpfs", 0, b"mode=0755,size=1m")
        for path, handle in handles.items():
            path.mkdir(parents=True, exist_ok=True)
            call("mount", f"/proc/self/fd/{handle}".encode(), bytes(path), None, MS_BIND | MS_REC, None)
            os.close(handle)


def may_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    """Tell by its mode whether the user may pass through a folder."""
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    return bool(status.st_mode & (stat.S_IXGRP if status.st_gid == user.pw_gid else stat.S_IXOTH))


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library; raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _ignored(_number: int, _frame: FrameType | None) -> None:
    """Never runs: the signals are blocked, and waited for."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
