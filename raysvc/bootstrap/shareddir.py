"""What the servers of one deployment share: keys, rules, blobs, jobs' folders. Of a single server: its data directory.

    DIR/secret-key, session-key     made once, mode 0600
    DIR/blobs/                      packages and logs
    DIR/policies/                   the rules, unless --policies names another folder
    DIR/work/, DIR/local/instance   the jobs' folders, and the word that marks our jobs on a Ray that others use too

One directory for all of it, laid out as a data directory is: so the data directory of a server of 0.1.0 will do.
"""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.fernet import Fernet

from raysvc.errors import DataDirError
from raysvc.ports import Clock, Leases

# The lease that says whose a database is, and for how long: as good as for ever, seconds.
_OWNER = "deployment"
_FOR_EVER_S = 100 * 365 * 86_400.0


class SharedDir:
    """Opened by each server. Nothing here is locked: several servers use it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    def open(self) -> None:
        """Make the directory where it is missing (mode 0700). Raises DataDirError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            owner = self.path.stat().st_uid
            for folder in (self.blobs, self.path / "policies"):
                folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise DataDirError(
                f"The shared directory {self.path} cannot be used: {error.strerror}. Name another with --shared-dir."
            ) from error
        if owner != os.geteuid():
            raise DataDirError(
                f"The shared directory {self.path} belongs to another user (uid {owner}). All servers of a deployment "
                "run as the same user."
            )

    def secret_key(self) -> bytes:
        """Return the key that secrets are encrypted with. Losing the file loses the secrets."""
        return once(self.path / "secret-key", lambda: Fernet.generate_key().decode()).encode()

    def session_key(self) -> bytes:
        """Return the key that browser sessions are signed with."""
        return once(self.path / "session-key", lambda: secrets.token_urlsafe(32)).encode()

    async def claim(self, leases: Leases, clock: Clock) -> None:
        """Make sure that the database is this deployment's: only who has its keys and blobs can use it.

        Raises DataDirError where it is another's. May be repeated.
        """
        name = hashlib.sha256(b"raysvc deployment\0" + self.secret_key()).hexdigest()[:16]
        if await leases.acquire(_OWNER, name, now=clock.now(), ttl_s=_FOR_EVER_S) is None:
            raise DataDirError(
                f"This database is used with other keys and blobs than those in {self.path}. Give every server on it "
                "the same --shared-dir: that of the first, or the first's data directory. A server that has moved "
                "takes its data directory along."
            )


def once(path: Path, make: Callable[[], str]) -> str:
    """Return what the file holds, made on first use, mode 0600. Of several processes that make it, one is first."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(make() + "\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
    path.chmod(0o600)
    return path.read_text().strip()
