"""The objects of one kind that are ours, kept up to date by list and watch."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from raysvc.backends.kuberay.kube import Gone, KubeApi
from raysvc.errors import RaysvcError
from raysvc.ports import Clock

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
log = structlog.get_logger()
Json = dict[str, Any]


class Cache:
    """`synced` is False until the first list, and again while the API server does not answer: then nothing is known."""

    def __init__(
        self, kube: KubeApi, path: str, query: Mapping[str, str], clock: Clock, changed: Callable[[Json], None]
    ) -> None:
        self._kube = kube
        self.path = path
        self._query = query
        self._clock = clock
        self._changed = changed
        self._objects: dict[str, Json] = {}
        self.synced = False
        self.why = "the first list has not come yet"

    def get(self, name: str) -> Json | None:
        return self._objects.get(name)

    def all(self) -> list[Json]:
        return list(self._objects.values())

    def put(self, found: Json) -> None:
        """Take in an object that the server has just answered with, unless a newer one is here."""
        name = _name(found)
        if _version(found) > _version(self._objects.get(name, {})):
            self._objects[name] = found

    async def run(self) -> None:
        """Follow until cancelled; what goes wrong is said once, and tried again."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                version = await self._list()
                pause = _FIRST_PAUSE_S
                await self._follow(version)
            except Gone:
                continue
            except (RaysvcError, TimeoutError, OSError) as error:
                self._lost(str(error) or type(error).__name__)
            except Exception as error:
                log.exception("watch of Kubernetes failed, will be repeated", path=self.path)
                self._lost(str(error))
            await self._clock.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    async def _list(self) -> str:
        answer = await self._kube.must_get(self.path, self._query)
        # The items of a list leave out their kind, which their list knows.
        fresh = {_name(item): item for item in answer.get("items") or ()}
        before, self._objects = self._objects, fresh
        self.synced = True
        for name, item in {**before, **fresh}.items():
            if _version(item) != _version(before.get(name, {})) or name not in fresh:
                self._changed(item)
        return str((answer.get("metadata") or {}).get("resourceVersion") or "0")

    async def _follow(self, version: str) -> None:
        """Take in changes. A watch that the server ends in peace is gone on with where it was."""
        while True:
            async with contextlib.aclosing(self._kube.watch(self.path, self._query, version)) as events:
                async for event in events:
                    item = event.get("object") or {}
                    version = str((item.get("metadata") or {}).get("resourceVersion") or version)
                    if event.get("type") != "BOOKMARK":
                        self._take(str(event.get("type")), item)
            await asyncio.sleep(0)

    def _take(self, kind: str, item: Json) -> None:
        if kind == "DELETED":
            self._objects.pop(_name(item), None)
        else:
            self._objects[_name(item)] = item
        self._changed(item)

    def _lost(self, why: str) -> None:
        if self.synced:
            log.warning("watch of Kubernetes lost, will be repeated", path=self.path, why=why)
        self.synced = False
        self.why = why


def _name(item: Json) -> str:
    return str((item.get("metadata") or {}).get("name"))


def _version(item: Json) -> int:
    """Return how new an object is. Versions are numbers that grow (Kubernetes says so since 1.35; etcd always did)."""
    version = str((item.get("metadata") or {}).get("resourceVersion") or 0)
    return int(version) if version.isdigit() else 0
