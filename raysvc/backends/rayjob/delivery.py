"""Brings a job's packages to a cluster, by Ray's own API."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from raysvc.backends.rayjob.api import RayApi
from raysvc.backends.rayjob.archive import cluster_name, sha256, zip_program
from raysvc.errors import Invalid, NotFound
from raysvc.ports import Materials

# DASHBOARD_CLIENT_MAX_SIZE in ray/_private/ray_constants.py: the largest body that Ray's dashboard takes.
MAX_UPLOAD_BYTES = 100 << 20


class Draft(NamedTuple):
    """A package as a file that is soon gone, its own name, and its name on the cluster."""

    file: Path
    name: str
    target: str


@asynccontextmanager
async def drafted(
    materials: Materials, place: Callable[[], Path], project: str, kind: str, name: str
) -> AsyncIterator[Draft]:
    """Yield a package, or a program of ours, as a file under a path that `place` gives; it is gone afterwards.

    Raises NotFound (field `packages`) where the package is gone.
    """
    draft = place()
    try:
        if kind == "payload":
            await asyncio.to_thread(zip_program, name, draft)
            name = f"{name}.zip"
        else:
            await _fetch(materials, project, name, draft)
        yield Draft(draft, name, cluster_name(name, project, await asyncio.to_thread(sha256, draft)))
    finally:
        draft.unlink(missing_ok=True)


async def upload(api: RayApi, draft: Draft) -> str:
    """Make sure the cluster has the package, and return its URI for Ray."""
    if not await api.has_package(draft.target):
        await api.put_package(draft.target, draft.file)
    return f"gcs://{draft.target}"


def gone(name: str) -> NotFound:
    """Return the error that says that a package is no longer here, and what to do."""
    return NotFound(
        f"Package {name} is no longer on this server. Submit the job again, so that the client uploads it.",
        field="packages",
    )


def too_large(name: str, size: int) -> Invalid:
    """Return the error that says that Ray does not take a package of so many bytes, and what to do."""
    limit = MAX_UPLOAD_BYTES >> 20
    return Invalid(
        f"Package {name} has {size >> 20} MiB, and Ray's API takes at most {limit} MiB. Put the archive where the "
        "cluster can fetch it (https://, s3://) and name that address.",
        field="runtime_env",
    )


async def _fetch(materials: Materials, project: str, name: str, draft: Path) -> None:
    try:
        _, chunks = await materials.package(project, name)
        with draft.open("wb") as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
    except NotFound as error:
        raise gone(name) from error
