"""The data directory: one server at a time, ours alone, and of a layout this version knows."""

import fcntl
import json
import os
import secrets
import shutil
import socket
import stat
from pathlib import Path
from typing import IO

from raysvc.bootstrap.shareddir import once
from raysvc.errors import DataDirError

# Layout 1: raysvc.db, blobs/, spool/, policies/, admin-token, secret-key, session-key, lock, layout, server.json.
LAYOUT = 1
# What a backup holds of it, besides blobs and policies: what is neither of the moment nor of this machine.
COMMON_KEYS = ("secret-key", "session-key")
KEYS = ("admin-token", *COMMON_KEYS)
# There while a restore is on its way: what it leaves where it is killed is no platform.
RESTORING = "restoring"
# Made anew by the kernel at each boot.
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# Less than this free, and the server would accept what it cannot keep.
LEAST_FREE_BYTES = 64 << 20


class DataDir:
    """Opened by `raysvc up` for its whole life. `open` refuses a directory that is held, foreign or too new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Make the directory where it is missing (mode 0700) and take its lock. Raises DataDirError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_owner()
            self._take_lock()
            self._check_layout()
            self._check_whole()
            for name in ("blobs", "spool", "policies"):
                (self.path / name).mkdir(exist_ok=True, mode=0o700)
            for left in (self.path / "spool").iterdir():
                left.unlink()
        except OSError as error:
            self.close()
            raise DataDirError(
                f"The data directory {self.path} cannot be used: {error.strerror}. Name another with --data-dir."
            ) from error
        except DataDirError:
            self.close()
            raise
        (self.path / "server.json").unlink(missing_ok=True)

    def close(self) -> None:
        """Say that nobody serves here, and let go of the lock. May be repeated."""
        if self._lock is not None:
            (self.path / "server.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def holder(self) -> str | None:
        """Return the process id of the live server that holds the directory, None where none does. Changes nothing."""
        try:
            with (self.path / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return (self.path / "lock").read_text().strip() or "unknown"
        except FileNotFoundError:
            return None
        return None

    def tenant(self) -> str:
        """Return a name for whoever holds the lock: a process has its predecessor's, which must have died.

        So a server that was killed is succeeded at once in whatever it held, and need not be waited for. A copy of the
        directory, or the same one in a clone of the machine, has another name.
        """
        found = (self.path / "lock").stat()
        try:
            boot = _BOOT.read_text().strip()
        except OSError:  # not Linux
            boot = secrets.token_hex(16)
        return f"{socket.gethostname()}-{boot}-{found.st_dev}-{found.st_ino}"

    def admin_token(self) -> str:
        """Return the first admin token, made on first use (file `admin-token`, mode 0600)."""
        return once(self.path / "admin-token", lambda: "raysvc_" + secrets.token_urlsafe(32))

    def announce(self, server: dict[str, object]) -> None:
        """Write `server.json`, whole or not at all: clients read it as the sign that the server serves."""
        partial = self.path / "server.json.partial"
        partial.write_text(json.dumps(server, indent=2) + "\n")
        partial.chmod(0o600)
        partial.replace(self.path / "server.json")

    def _check_owner(self) -> None:
        found = self.path.stat()
        if found.st_uid != os.geteuid():
            raise DataDirError(f"{self.path} belongs to another user (uid {found.st_uid}). Name another --data-dir.")
        if stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
            self.path.chmod(0o700)
        free = shutil.disk_usage(self.path).free
        if free < LEAST_FREE_BYTES:
            raise DataDirError(
                f"{self.path} has {free >> 20} MiB free; raysvc needs {LEAST_FREE_BYTES >> 20} MiB to keep what it "
                "accepts. Free some space or name another --data-dir."
            )

    def _take_lock(self) -> None:
        lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise DataDirError(
                f"{self.path} is held by a live server (pid {holder}). Stop it, or name another --data-dir."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _check_whole(self) -> None:
        if (self.path / RESTORING).exists():
            raise DataDirError(f"A restore into {self.path} did not finish. Remove the directory, then restore again.")

    def _check_layout(self) -> None:
        path = self.path / "layout"
        if not path.exists():
            path.write_text(f"{LAYOUT}\n")
            return
        text = path.read_text().strip()
        if not text.isdecimal():
            raise DataDirError(f"{path} says {text[:40]!r} and not a layout number. Is this a raysvc directory?")
        if int(text) > LAYOUT:
            raise DataDirError(
                f"{self.path} was made by a newer raysvc (layout {text}; this one knows {LAYOUT}). Upgrade raysvc, or "
                "name another --data-dir."
            )
