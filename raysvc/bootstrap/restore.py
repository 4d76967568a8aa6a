"""`raysvc restore`: a platform out of a backup, in an empty data directory and an empty database."""

import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel, ValidationError

from raysvc.blobs.directory import DirectoryBlobs
from raysvc.bootstrap.bundle import Member, Row, Verified, members, verify
from raysvc.bootstrap.datadir import KEYS, RESTORING, DataDir
from raysvc.bootstrap.disk import told
from raysvc.control.vault import package_key
from raysvc.domain.cluster import SharedCluster
from raysvc.domain.event import BrokenChain, Event, fold
from raysvc.domain.job import Job
from raysvc.domain.project import Package
from raysvc.domain.service import Service
from raysvc.errors import DataDirError, Invalid
from raysvc.store.dump import filling
from raysvc.store.schema import HEAD

_CHUNK = 1 << 20
_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
# What has a history: the tables of the records and of their events.
_RECORDS: dict[str, tuple[str, type[BaseModel]]] = {
    "job": ("event", Job),
    "service": ("service_event", Service),
    "cluster": ("cluster_event", SharedCluster),
}
# Records that are named where some are damaged.
_NAMED = 5


def inspect(source: Path) -> Verified:
    """Read a backup from end to end, and check that each record is what its events say. Blocks; changes nothing.

    Raises Invalid where it is not whole or a record is damaged, DataDirError where it is too new.
    """
    found = verify(source)
    if found.manifest.schema_version > HEAD:
        raise DataDirError(
            f"{source} is of a newer raysvc ({found.manifest.raysvc}; its schema is {found.manifest.schema_version}, "
            f"this one knows {HEAD}). Install that version."
        )
    counted = {table: sum(1 for _ in found.rows(table)) for table in found.pieces}
    if counted != {table: count for table, count in found.manifest.rows.items() if count}:
        raise Invalid(
            f"{source} does not hold the rows that its manifest counts. Nothing was restored.", field="source"
        )
    if damaged := list(damaged_records(found)):
        some = ", ".join(damaged[:_NAMED])
        raise Invalid(
            f"{source} is as it was made, but {len(damaged)} records are not what their events say ({some}): the "
            "database was damaged before. Take an older backup.",
            field="source",
        )
    return found


def damaged_records(found: Verified) -> Iterator[str]:
    """Yield the kind and uid of records that are not the fold of their events. All tables are in the order of uids."""
    for table, (events, kind) in _RECORDS.items():
        histories = groupby(found.rows(events), key=lambda row: row["uid"])
        for row in found.rows(table):
            uid, history = next(histories, ("", iter(())))
            if uid != row["uid"] or not _agree(kind, row, history):
                yield f"{table} {row['uid']}"


def _agree(kind: type[BaseModel], row: Row, history: Iterator[Row]) -> bool:
    try:
        record = kind.model_validate_json(row["body"])
        return kind.model_validate(fold(Event.model_validate_json(event["body"]) for event in history)) == record
    except (ValidationError, BrokenChain):
        return False


def check_target(data_dir: Path) -> None:
    """Raise DataDirError where something is in the way."""
    if not data_dir.exists():
        return
    if not data_dir.is_dir():
        raise DataDirError(f"{data_dir} is not a directory. Restore into a new or empty one.")
    if (holder := DataDir(data_dir).holder()) is not None:
        raise DataDirError(f"{data_dir} is held by a live server (pid {holder}). Restore into an empty directory.")
    if (data_dir / RESTORING).exists():
        raise DataDirError(f"A restore into {data_dir} did not finish. Remove that directory, then restore again.")
    if any(data_dir.iterdir()):
        raise DataDirError(f"{data_dir} is not empty. Restore into a new or empty directory.")


async def restore(found: Verified, data_dir: Path, database: str) -> None:
    """Make the platform that a verified backup holds. What was begun is taken away where it fails.

    Raises DataDirError where directory or database are not empty, DiskFull, Unavailable.
    """
    check_target(data_dir)
    with closing(DataDir(data_dir)) as directory:
        directory.open()
        with _cleared_unless_done(data_dir), told(f"{found.path} was not restored"):
            (data_dir / RESTORING).touch()
            blobs = DirectoryBlobs(data_dir / "blobs")
            named = {package_key(Package.model_validate_json(row["body"])) for row in found.rows("package")}
            with filling(database, found.manifest.schema_version) as tables:
                for table in found.pieces:
                    tables.add(table, found.rows(table))
                for member in members(found.path):
                    await _place(member, data_dir, blobs, named)
            (data_dir / RESTORING).unlink()


@contextmanager
def _cleared_unless_done(data_dir: Path) -> Iterator[None]:
    """Empty the directory again where the block fails; it was empty before, and is held by us."""
    try:
        yield
    except BaseException:
        for path in data_dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        raise


async def _place(member: Member, data_dir: Path, blobs: DirectoryBlobs, named: set[str]) -> None:
    folder, _, name = member.name.partition("/")
    if folder == "blobs":
        # A package that was there before the database's moment and is not named by it is of no use any more.
        if not name.startswith("packages/") or name in named:
            await blobs.put(name, _chunks(member))
    elif folder in {"files", "policies"}:
        if not _FILE.fullmatch(name) or (folder == "files" and name not in KEYS):
            raise Invalid(f"The backup holds a file {member.name!r}, which is none of raysvc's.", field="source")
        path = data_dir / ("policies" if folder == "policies" else "") / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            shutil.copyfileobj(member.content, file)
            file.flush()
            os.fsync(file.fileno())


async def _chunks(member: Member) -> AsyncIterator[bytes]:
    while chunk := member.content.read(_CHUNK):
        yield chunk
