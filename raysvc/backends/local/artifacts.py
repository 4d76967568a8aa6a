"""What jobs leave in RAYSVC_OUTPUT_DIR. Implements `Artifacts`.

The folder belongs to the jobs, so nothing in it is trusted.
"""

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from raysvc.backends.local.area import Area, disk
from raysvc.backends.local.beneath import folder_below, open_below
from raysvc.errors import NotFound
from raysvc.ports import ArtifactFile

_CHUNK = 1 << 20
_UID = re.compile(r"[0-9a-hjkmnp-tv-z]{16}")


class LocalArtifacts:
    """Regular files only; a symlink is neither listed nor followed."""

    def __init__(self, area: Callable[[], Area]) -> None:
        self._area = area

    async def list(self, uid: str) -> Sequence[ArtifactFile]:
        """Return the job's files by path; none where it left none."""
        with disk():
            return await asyncio.to_thread(_scan, self._area().jobs, _uid(uid))

    async def read(self, uid: str, path: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        parts = PurePosixPath(path).parts
        try:
            descriptor = await asyncio.to_thread(open_below, self._area().jobs, _uid(uid), "output", *parts)
        except OSError as error:
            raise NotFound(f"Job {uid} has no artifact {path!r}.", field="path") from error
        try:
            while chunk := await asyncio.to_thread(os.pread, descriptor, _CHUNK, offset):
                offset += len(chunk)
                yield chunk
        finally:
            os.close(descriptor)

    async def delete(self, uid: str) -> None:
        """Remove the job's folders, checkpoints too. Absent counts as success."""
        await asyncio.to_thread(self._area().forget_job, _uid(uid))


def _scan(jobs: Path, uid: str) -> list[ArtifactFile]:
    found = []
    try:
        with folder_below(jobs, uid, "output") as root:
            for folder, _, names, descriptor in os.fwalk(".", dir_fd=root):
                found += [_describe(descriptor, folder, name) for name in names]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((file for file in found if file), key=lambda file: file.path)


def _describe(descriptor: int, folder: str, name: str) -> ArtifactFile | None:
    """Return a file's listing; None for what is not a regular file, has just gone, or has a name that is not UTF-8."""
    path = str(PurePosixPath(folder, name))
    try:
        path.encode()
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except (OSError, UnicodeEncodeError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return ArtifactFile(path=path, size=status.st_size, modified_at=datetime.fromtimestamp(status.st_mtime, UTC))


def _uid(uid: str) -> str:
    if not _UID.fullmatch(uid):
        raise NotFound(f"{uid[:40]!r} is not the uid of a job.")
    return uid
