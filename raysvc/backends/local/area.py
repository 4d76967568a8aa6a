"""Where Ray works: its sessions, the jobs' folders, what is delivered to them.

The folders that others must not rename or plant belong to the server; only the leaves belong to the user that jobs run
as. So a path made here cannot be turned into a symlink by a job.
"""

import errno
import os
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from raysvc.domain.job import JobRef
from raysvc.errors import DiskFull, Unavailable

# Sessions before this one whose driver logs are kept: a job that died with its head still has its last lines there.
SESSIONS_KEPT = 2
# A file that is delivered is read once, when a job's runtime environment is built; a day later nobody needs it.
PACKAGE_AGE_S = 86_400


@dataclass(frozen=True)
class Owner:
    """Whom the leaves belong to, where that is not the server's own user."""

    uid: int
    gid: int


class Area:
    """The work area below `root`. All methods block, briefly; each may be repeated."""

    def __init__(self, root: Path, owner: Owner | None = None) -> None:
        self.root = root
        self.owner = owner
        self.ray = root / "ray"
        self.home = root / "home"
        self.scratch = root / "tmp"
        self.packages = root / "packages"
        self.token = root / "token"
        self.jobs = root / "jobs"
        self.programs = root / "programs"
        self.services = root / "services"
        self.runs = root / "warm" / "runs"
        self.pools = root / "warm" / "pools"
        self._secrets = root / "secrets"

    def prepare(self) -> None:
        """Make the folders, and hand the leaves to their owner."""
        own = (self.root, self.jobs, self.services, self._secrets, self.packages, self.programs, self.runs.parent)
        for folder in own:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755 if self.owner else 0o700)
        for leaf in (self.ray, self.home, self.scratch, self.runs, self.pools):
            self._leaf(leaf)

    def job(self, uid: str) -> tuple[Path, Path]:
        """Make and return a job's (checkpoint, output) folders, which all its attempts share."""
        folder = self.jobs / uid
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755 if self.owner else 0o700)
        for leaf in (checkpoint := folder / "checkpoint", output := folder / "output"):
            self._leaf(leaf)
        return checkpoint, output

    def job_paths(self, uid: str) -> tuple[str, str]:
        """Return a job's (checkpoint, output) folders without making them."""
        # Text, and not by pathlib: each submission is rendered once, to see that it can be.
        folder = f"{self.jobs}/{uid}"
        return f"{folder}/checkpoint", f"{folder}/output"

    def forget_job(self, uid: str) -> None:
        """Remove a job's folders and all in them."""
        shutil.rmtree(self.jobs / uid, ignore_errors=True)

    def service(self, uid: str) -> Path:
        """Make and return the folder in which a service's replicas write."""
        folder = self.services / uid
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755 if self.owner else 0o700)
        self._leaf(leaf := folder / "work")
        return leaf

    def write_link(self, uid: str, content: str) -> None:
        """Keep where a service's replicas report, and by what right, unless it stands there already."""
        path = self.services / uid / "link.json"
        if not path.exists() or path.read_text() != content:
            self._private(path, content.encode())

    def forget_service(self, uid: str) -> None:
        """Remove a service's folder and all in it."""
        shutil.rmtree(self.services / uid, ignore_errors=True)

    def write_token(self, token: str) -> None:
        """Keep the cluster's token where Ray's processes read it (RAY_AUTH_TOKEN_PATH)."""
        self._private(self.token, token.encode())

    def write_secrets(self, ref: JobRef, values: Mapping[str, str], then: str | None) -> Path:
        """Write the shell file that sets an attempt's secret variables; return its path.

        Ray starts each worker of a job through `bash -c`, and bash first reads the file that BASH_ENV names. So the
        values reach the driver and all workers, and never Ray's job table, its logs or its dashboard, where
        runtime_env.env_vars stand in plain text. `then` is the BASH_ENV that the user wanted.
        """
        lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(values.items())]
        lines.append(f"export BASH_ENV={shlex.quote(then)}" if then else "unset BASH_ENV")
        path = self._secrets / f"{ref.name}.sh"
        self._private(path, ("\n".join(lines) + "\n").encode())
        return path

    def forget_secrets(self, ref: JobRef) -> None:
        """Remove an attempt's secret variables."""
        (self._secrets / f"{ref.name}.sh").unlink(missing_ok=True)

    def place_package(self, draft: Path, name: str) -> Path:
        """Move a finished draft under its name into `packages`; of two with one name, which are equal, one stays."""
        path = self.packages / name
        draft.chmod(0o644 if self.owner else 0o600)
        draft.replace(path)
        return path

    def publish(self, draft: Path, folder: Path) -> None:
        """Put a finished folder where the jobs' user can read it, and nobody but the server change it."""
        for path in (draft, *draft.rglob("*")):
            path.chmod((0o755 if path.is_dir() else 0o644) if self.owner else (0o700 if path.is_dir() else 0o600))
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            shutil.rmtree(draft)  # somebody was first

    def draft(self) -> Path:
        """Return a path for a package that is still being received."""
        return self.packages / f".{uuid.uuid4().hex}"

    def prune_packages(self) -> None:
        """Remove delivered packages, and drafts of a server that died, that nobody asked for within a day."""
        # The file system's clock, not ours: it is compared with the files' own times.
        oldest = time.time() - PACKAGE_AGE_S
        for path in self.packages.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def sessions(self) -> Sequence[Path]:
        """Return the folders of Ray's sessions, the newest first; their names begin with their time of birth."""
        found = [path for path in self.ray.glob("session_2*") if path.is_dir() and not path.is_symlink()]
        return sorted(found, reverse=True)

    def clear(self) -> None:
        """Before a new head starts: keep of the last sessions the logs; no secret, and nothing of those before."""
        for path in self._secrets.iterdir():
            path.unlink(missing_ok=True)
        for path in self.pools.iterdir():
            _remove(path)
        for number, session in enumerate(self.sessions()):
            if number >= SESSIONS_KEPT:
                shutil.rmtree(session, ignore_errors=True)
                continue
            for path in session.iterdir():
                if path.name != "logs":
                    _remove(path)

    def _leaf(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        if self.owner and path.stat().st_uid != self.owner.uid:
            give(path, self.owner)
        path.chmod(0o700)

    def _private(self, path: Path, content: bytes) -> None:
        """Write a file as a whole that only the jobs' user (and root) may read."""
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if self.owner:
                os.fchown(file.fileno(), self.owner.uid, self.owner.gid)
            file.write(content)
        draft.replace(path)


@contextmanager
def disk() -> Iterator[None]:
    """Say in our words what goes wrong with files. Raises DiskFull, or Unavailable."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull("The disk of the work area is full. Free some space; nothing was started.") from error
        raise Unavailable(f"The work area cannot be used: {error}.") from error


def give(root: Path, owner: Owner) -> None:
    """Make `owner` the owner of a folder and all below it; symlinks are changed themselves, never followed."""
    for _, folders, files, descriptor in os.fwalk(root):
        os.fchown(descriptor, owner.uid, owner.gid)
        for name in (*folders, *files):
            os.chown(name, owner.uid, owner.gid, dir_fd=descriptor, follow_symlinks=False)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
