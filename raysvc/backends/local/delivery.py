"""Brings a job's packages to the cluster, just before the job that needs them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from raysvc.backends.local.area import Area
from raysvc.backends.rayjob.api import RayApi
from raysvc.backends.rayjob.archive import cluster_name, keep_top_folder, sha256, zip_program
from raysvc.errors import Invalid, NotFound
from raysvc.ports import Materials

# DASHBOARD_CLIENT_MAX_SIZE in ray/_private/ray_constants.py: the largest body that Ray's dashboard takes.
MAX_UPLOAD_BYTES = 100 << 20


class Delivered(NamedTuple):
    """Where a package is: its URI for Ray, and its file in the work area, where one was asked for."""

    uri: str
    file: Path | None = None


class Delivery:
    """`shared` tells whether the cluster reads the work area's files: then a package over Ray's limit goes that way."""

    def __init__(self, materials: Materials, area: Area, *, shared: bool) -> None:
        self._materials = materials
        self._area = area
        self._shared = shared

    async def deliver(self, api: RayApi, project: str, kind: str, name: str) -> Delivered:
        """Make sure the cluster has a package, and return where. May be repeated.

        Raises NotFound (field `packages`) where the package is gone, Invalid where it is too large for this cluster.
        """
        async with self._drafted(project, kind, name) as (draft, file_name, target):
            if draft.stat().st_size <= MAX_UPLOAD_BYTES:
                return Delivered(await self._upload(api, draft, target))
            return Delivered(await asyncio.to_thread(self._place, draft, target, file_name))

    async def deliver_twice(self, api: RayApi, project: str, kind: str, name: str) -> Delivered:
        """As `deliver`, and make sure that a warm driver finds it too, as a file."""
        async with self._drafted(project, kind, name) as (draft, _, target):
            if draft.stat().st_size > MAX_UPLOAD_BYTES:
                raise Invalid(
                    f"Package {name} has {draft.stat().st_size >> 20} MiB, and a warm driver takes at most "
                    f'{MAX_UPLOAD_BYTES >> 20} MiB. Leave out driver "warm".',
                    field="driver",
                )
            uri = await self._upload(api, draft, target)
            self._area.prune_packages()
            return Delivered(uri, self._area.place_package(draft, f"warm_{target}"))

    @asynccontextmanager
    async def _drafted(self, project: str, kind: str, name: str) -> AsyncIterator[tuple[Path, str, str]]:
        """Yield a package as a file that is gone afterwards, its file name, and its name on the cluster."""
        draft = self._area.draft()
        try:
            if kind == "payload":
                await asyncio.to_thread(zip_program, name, draft)
                name = f"{name}.zip"
            else:
                await self._fetch(project, name, draft)
            yield draft, name, cluster_name(name, project, await asyncio.to_thread(sha256, draft))
        finally:
            draft.unlink(missing_ok=True)

    async def _fetch(self, project: str, name: str, draft: Path) -> None:
        try:
            _, chunks = await self._materials.package(project, name)
            with draft.open("wb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
        except NotFound as error:
            raise NotFound(
                f"Package {name} is no longer on this server. Submit the job again, so that the client uploads it.",
                field="packages",
            ) from error

    async def _upload(self, api: RayApi, draft: Path, target: str) -> str:
        if not await api.has_package(target):
            await api.put_package(target, draft)
        return f"gcs://{target}"

    def _place(self, draft: Path, target: str, name: str) -> str:
        if not self._shared:
            size, limit = draft.stat().st_size >> 20, MAX_UPLOAD_BYTES >> 20
            raise Invalid(
                f"Package {name} has {size} MiB, and Ray's API takes at most {limit} MiB. Put the archive where the "
                "cluster can fetch it (https://, s3://) and name that address.",
                field="runtime_env",
            )
        self._area.prune_packages()
        placed = self._area.packages / target
        if placed.exists():
            os.utime(placed)
        else:
            keep_top_folder(draft, name)
            self._area.place_package(draft, target)
        return placed.as_uri()
