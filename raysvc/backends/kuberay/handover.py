"""Hands a job over to a cluster's Ray: its packages, then the values of its secrets with the job itself."""

import uuid
from pathlib import Path
from typing import Any

from raysvc.backends.rayjob.api import RayApi
from raysvc.backends.rayjob.body import fill, package_references, secret_names
from raysvc.backends.rayjob.delivery import MAX_UPLOAD_BYTES, drafted, gone, too_large, upload
from raysvc.errors import NotFound
from raysvc.ports import Materials

Json = dict[str, Any]


class Handover:
    """Packages on their way lie below `data_dir`."""

    def __init__(self, materials: Materials, data_dir: Path) -> None:
        self._materials = materials
        self._data_dir = data_dir

    async def submit(self, api: RayApi, project: str, body: Json) -> None:
        """Bring the packages of a rendered body to a cluster's Ray, fill in its secrets, and post it."""
        runtime_env = body["runtime_env"]
        values = await self._secrets(project, secret_names(runtime_env))
        uris = {}
        for kind, name in package_references(runtime_env):
            async with drafted(self._materials, self._draft, project, kind, name) as draft:
                if (size := draft.file.stat().st_size) > MAX_UPLOAD_BYTES:
                    raise too_large(name, size)
                uris[kind, name] = await upload(api, draft)
        await api.submit({**body, "runtime_env": fill(runtime_env, values, uris)})

    async def check_packages(self, project: str, runtime_env: Json) -> None:
        """Say before a cluster is made what would be in vain. Raises NotFound, Invalid."""
        for kind, name in package_references(runtime_env):
            if kind == "package":
                try:
                    size, _ = await self._materials.package(project, name)
                except NotFound as error:
                    raise gone(name) from error
                if size > MAX_UPLOAD_BYTES:
                    raise too_large(name, size)

    async def with_secrets(self, project: str, manifests: list[Json]) -> list[Json]:
        """Return the manifests with the values of secrets in the Secret, which alone has any."""
        values = await self._secrets(project, secret_names(manifests))
        return [
            {**found, "stringData": fill(found["stringData"], values, {})} if found["kind"] == "Secret" else found
            for found in manifests
        ]

    async def _secrets(self, project: str, names: list[str]) -> dict[str, str]:
        try:
            return {name: await self._materials.secret(project, name) for name in names}
        except NotFound as error:
            raise NotFound(f"{error.message} Set it with raysvc secret set.", field="secrets") from error

    def _draft(self) -> Path:
        folder = self._data_dir / "spool"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / f".{uuid.uuid4().hex}"
