"""`raysvc backup`: everything a platform must not lose, in one file, while it serves.

The order makes it consistent without stopping anybody. First the packages that are there; then the database, as it is
at one moment; then the packages that this moment names and that came meanwhile (their pin keeps them for 15 minutes);
then the logs of the attempts that it knows. A package's bytes go after its row, and a log only grows: so what the
database of the backup names, the backup has.
"""

import errno
import fcntl
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import IO, NamedTuple

from raysvc.blobs.files import keys, opened
from raysvc.bootstrap.bundle import BundleWriter, Manifest, Row, Verified, verify
from raysvc.bootstrap.datadir import COMMON_KEYS
from raysvc.bootstrap.disk import told
from raysvc.control.logbook import blob_key
from raysvc.control.vault import package_key
from raysvc.domain.job import JobPhase, JobRef
from raysvc.domain.project import Package
from raysvc.errors import AlreadyExists, DataDirError
from raysvc.ports import Clock
from raysvc.store.dump import Snapshot, snapshot
from raysvc.version import __version__

# File systems without hard links, such as that of a memory stick.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})


class _Draft(NamedTuple):
    file: IO[bytes]
    path: Path


@dataclass(frozen=True)
class Source:
    """Where a platform keeps things. `common` has the keys and blobs: a shared directory, or the data directory."""

    data_dir: Path
    common: Path
    database: str


def back_up(source: Source, target: Path, clock: Clock) -> Verified:
    """Write a backup, bring it to the disk, read it back, and only then give it its name. Blocks; may be repeated.

    Raises AlreadyExists, DataDirError for what is no platform, DiskFull, Unavailable; `target` is then not there.
    """
    for directory, name in ((source.data_dir, "admin-token"), (source.common, "secret-key")):
        if not (directory / name).is_file():
            raise DataDirError(f"{directory} has no {name}: no raysvc has run there. Name another with --data-dir.")
    if target.exists():
        raise AlreadyExists(f"{target} is there already. Name another file, or remove it.")
    with (
        told(f"There is no backup {target}"),
        _draft(target) as draft,
        closing(BundleWriter(draft.file)) as bundle,
        tempfile.TemporaryFile("w+") as attempts,
    ):
        work = _Work(source, bundle, attempts)
        work.packages_there()
        with snapshot(source.database) as moment:
            at = clock.now()
            work.database(moment)
        work.packages_since()
        work.logs()
        work.files()
        bundle.finish(
            Manifest(
                raysvc=__version__,
                schema_version=moment.schema,
                database=moment.kind,
                created_at=at,
                host=socket.gethostname(),
                data_dir=str(source.data_dir),
                rows=bundle.rows,
                packages=work.packages,
                logs=work.logs_kept,
                blob_bytes=bundle.blob_bytes,
                flaws=tuple(work.flaws),
            ).text()
        )
        draft.file.flush()
        os.fsync(draft.file.fileno())
        verified = verify(draft.path)
        _name(draft.path, target)
    return replace(verified, path=target)


class _Work:
    """What goes into a backup, step by step, in the order of `back_up`.

    `attempts` takes a line "uid attempts" for each job: there may be millions, so not in memory.
    """

    def __init__(self, source: Source, bundle: BundleWriter, attempts: IO[str]) -> None:
        self._source = source
        self._blobs = source.common / "blobs"
        self._bundle = bundle
        self._there: set[str] = set()
        self._named: dict[str, Package] = {}
        self._attempts = attempts
        self.packages = 0
        self.logs_kept = 0
        self.flaws: list[str] = []

    def packages_there(self) -> None:
        for key in keys(self._blobs, "packages"):
            self._package(key)

    def database(self, moment: Snapshot) -> None:
        note: dict[str, Callable[[Row], None]] = {"job": self._note_job, "package": self._note_package}
        for table in moment.tables:
            self._bundle.add_rows(table, moment.rows(table), note.get(table, lambda _: None))

    def packages_since(self) -> None:
        for key in self._named.keys() - self._there:
            self._package(key)
        for key in sorted(self._named.keys() - self._there):
            package = self._named[key]
            self.flaws.append(f"Package {package.name} of project {package.project} is missing: {self._blobs / key}")

    def logs(self) -> None:
        self._attempts.seek(0)
        for line in self._attempts:
            uid, attempts = line.split()
            for attempt in range(1, int(attempts) + 1):
                self.logs_kept += self._add(blob_key(JobRef(uid=uid, attempt=attempt))) is not None

    def files(self) -> None:
        for path in (self._source.data_dir / "admin-token", *(self._source.common / name for name in COMMON_KEYS)):
            with suppress(FileNotFoundError):
                self._bundle.add_bytes(f"files/{path.name}", path.read_bytes())
        with suppress(FileNotFoundError):
            for path in sorted((self._source.common / "policies").iterdir()):
                if path.is_file():
                    self._bundle.add_bytes(f"policies/{path.name}", path.read_bytes())

    def _package(self, key: str) -> None:
        digest = self._add(key)
        if digest is None:
            return
        self._there.add(key)
        self.packages += 1
        if digest not in key:  # it is part of a package's key
            self.flaws.append(f"The bytes of a package are damaged, its digest is another: {self._blobs / key}")

    def _add(self, key: str) -> str | None:
        with opened(self._blobs, key) as blob:
            if blob is None:
                return None
            self._bundle.blob_bytes += blob.size
            return self._bundle.add(f"blobs/{key}", blob.file, blob.size)

    def _note_job(self, row: Row) -> None:
        attempts = json.loads(row["body"])["attempt"]
        # An attempt that Ray may not have taken yet is sent again after a restore, and its log begins anew.
        if row["phase"] == JobPhase.STARTING:
            attempts -= 1
        if attempts > 0:
            self._attempts.write(f"{row['uid']} {attempts}\n")

    def _note_package(self, row: Row) -> None:
        package = Package.model_validate_json(row["body"])
        self._named[package_key(package)] = package


def _name(draft: Path, target: Path) -> None:
    """Give a finished draft its name; never another's."""
    try:
        os.link(draft, target)
    except FileExistsError as error:
        raise AlreadyExists(f"{target} was made by somebody else meanwhile, and is not this backup.") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        draft.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _draft(target: Path) -> Iterator[_Draft]:
    """Open a file beside the target, for us alone, which is gone after the block. Takes away what killed ones left."""
    prefix, suffix = f".{target.name}.", ".partial"
    for left in target.parent.glob(f"{escape(prefix)}*{suffix}"):
        with left.open("rb") as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=suffix)
    try:
        with os.fdopen(handle, "w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield _Draft(file, Path(name))
    finally:
        Path(name).unlink(missing_ok=True)
