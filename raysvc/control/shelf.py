"""Uploaded packages: kept durably per project, checked, pinned, and collected when nothing needs them."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from raysvc.control.vault import package_key
from raysvc.domain import access, package
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.project import Package
from raysvc.errors import Conflict, DiskFull, OverLimit
from raysvc.ports import Blobs, Clock, Store

# Ray pins a package for 600 s after its client saw or sent it (RAY_RUNTIME_ENV_TEMPORARY_REFERENCE_EXPIRATION_S);
# we keep ours longer, so that the client's promise holds with a slow submit behind it.
PIN = timedelta(minutes=15)
CHUNK = 1 << 20


class Shelf:
    """Takes packages in and tells whether one is there."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, spool: Path, limit: int) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._spool = spool
        self._limit = limit

    async def find(self, principal: Principal, project: str, protocol: str, name: str) -> Package:
        """Return the package and pin it; raises NotFound with Ray's phrase, Invalid for a name Ray would not make."""
        access.authorise(principal, Verb.READ, Resource.PACKAGE, project)
        package.check_name(protocol, name)
        return await self._store.packages.pin(project, name, self._clock.now() + PIN)

    async def put(
        self, principal: Principal, project: str, uri: tuple[str, str], chunks: AsyncIterator[bytes]
    ) -> Package:
        """Keep an upload, streamed to disk. `uri` is (protocol, name). May be repeated.

        The same entries under the same name are the same package, whatever their mtimes: the first is kept. Raises
        Conflict for other contents, OverLimit, Invalid for a broken or hostile archive, DiskFull.
        """
        access.authorise(principal, Verb.SUBMIT, Resource.PACKAGE, project)
        protocol, name = uri
        package.check_name(protocol, name)
        await self._store.projects.get(project)
        # Unbuffered: what a full disk refuses shows at the write, and not again when the file is closed.
        with tempfile.TemporaryFile(dir=self._spool, buffering=0) as file:
            size, sha256 = await self._receive(chunks, file)
            digest = await asyncio.to_thread(package.digest, name, file)
            now = self._clock.now()
            kept = Package(
                project=project,
                name=name,
                size=size,
                sha256=sha256,
                digest=digest,
                created_at=now,
                pinned_until=now + PIN,
            )
            await self._blobs.put(package_key(kept), _chunks(file))
            try:
                first = await self._store.packages.add(kept)
            except Conflict:
                await self._blobs.delete(package_key(kept))
                raise
            if package_key(first) != package_key(kept):
                await self._blobs.delete(package_key(kept))
            return first

    async def _receive(self, chunks: AsyncIterator[bytes], file: BinaryIO) -> tuple[int, str]:
        size, seen = 0, hashlib.sha256()
        async for chunk in chunks:
            size += len(chunk)
            if size > self._limit:
                raise OverLimit(
                    f"The package is larger than {self._limit / (1 << 20):g} MiB, the most this server takes. "
                    "Leave out data files (`excludes` in runtime_env), or raise --max-package-bytes.",
                    rule="max_package_bytes",
                )
            seen.update(chunk)
            try:
                await asyncio.to_thread(_write, file, chunk)
            except OSError as error:
                raise DiskFull(
                    f"The package could not be kept: {error.strerror}. Free some space and retry."
                ) from error
        return size, seen.hexdigest()


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of it: an unbuffered write may take a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    await asyncio.to_thread(file.seek, 0, os.SEEK_SET)
    while chunk := await asyncio.to_thread(file.read, CHUNK):
        yield chunk
