"""Brings a job's packages to the cluster, just before the job that needs them."""

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

from raysvc.backends.local.area import Area
from raysvc.backends.rayjob.api import RayApi
from raysvc.backends.rayjob.archive import keep_top_folder
from raysvc.backends.rayjob.delivery import MAX_UPLOAD_BYTES, Draft, drafted, too_large, upload
from raysvc.errors import Invalid
from raysvc.ports import Materials


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
        async with drafted(self._materials, self._area.draft, project, kind, name) as draft:
            if draft.file.stat().st_size <= MAX_UPLOAD_BYTES:
                return Delivered(await upload(api, draft))
            return Delivered(await asyncio.to_thread(self._place, draft))

    async def deliver_twice(self, api: RayApi, project: str, kind: str, name: str) -> Delivered:
        """As `deliver`, and make sure that a warm driver finds it too, as a file."""
        async with drafted(self._materials, self._area.draft, project, kind, name) as draft:
            if draft.file.stat().st_size > MAX_UPLOAD_BYTES:
                raise Invalid(
                    f"Package {name} has {draft.file.stat().st_size >> 20} MiB, and a warm driver takes at most "
                    f'{MAX_UPLOAD_BYTES >> 20} MiB. Leave out driver "warm".',
                    field="driver",
                )
            uri = await upload(api, draft)
            self._area.prune_packages()
            return Delivered(uri, self._area.place_package(draft.file, f"warm_{draft.target}"))

    def _place(self, draft: Draft) -> str:
        if not self._shared:
            raise too_large(draft.name, draft.file.stat().st_size)
        self._area.prune_packages()
        placed = self._area.packages / draft.target
        if placed.exists():
            os.utime(placed)
        else:
            keep_top_folder(draft.file, draft.name)
            self._area.place_package(draft.file, draft.target)
        return placed.as_uri()
