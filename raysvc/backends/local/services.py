"""Services on local Ray, over Serve's REST API. Implements `Services`."""

import asyncio
import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysvc import payload
from raysvc.backends.local import serveapp
from raysvc.backends.local.area import Area, disk
from raysvc.backends.local.driverlog import FileLog
from raysvc.backends.local.supervisor import Supervisor
from raysvc.backends.rayjob.api import RayApi
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.rendered import Rendered
from raysvc.domain.service import Service
from raysvc.errors import Invalid, NotFound, RaysvcError
from raysvc.ports import Clock
from raysvc.ports.serving import ReplicaHome

_LOG = "engine.log"
# Serve is not asked again within this, whichever service is looked at.
_FRESH_S = 0.5
_PATH = "/api/serve/applications/"


@dataclass(frozen=True)
class ServiceWorld:
    """What services stand on. `own`: the head is ours, so replicas run on this machine and read the work area."""

    supervisor: Supervisor
    area: Callable[[], Area]
    home: ReplicaHome
    clock: Clock
    instance: str
    own: bool


class LocalServices:
    """One revision is one application of Serve's. All are declared in one call, so changes wait for each other."""

    def __init__(self, world: ServiceWorld) -> None:
        self._world = world
        self._lock = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._looked: tuple[RayApi, float, dict[str, dict[str, Any]]] | None = None

    def render(self, record: Service) -> Rendered:
        self._check(record)
        area = self._world.area()
        program, folder = area.programs / _program_name(), area.services / record.uid
        ours = serveapp.applications(record, self._world.instance, program, folder)
        return Rendered(format="http", documents=({"method": "PUT", "path": _PATH, "body": _body(ours)},))

    async def apply(self, record: Service) -> None:
        api, area = self._world.supervisor.require().api, self._world.area()
        (call,) = self.render(record).documents
        wanted = {each["name"]: each for each in call["body"]["applications"]}
        with disk():
            await asyncio.to_thread(_require_model, Path(record.spec.model.removeprefix("file://")))
            await asyncio.to_thread(_publish, area)
            await asyncio.to_thread(area.service, record.uid)
            await asyncio.to_thread(self._link, record.uid)
        async with self._lock:
            there = await api.applications()
            declared = {name: config for name, each in there.items() if (config := each.get("deployed_app_config"))}
            kept = {name: config for name, config in declared.items() if self._owner(name) != record.uid}
            same = {name: declared.get(name) for name in wanted} == wanted
            if not same or len(kept) + len(wanted) != len(declared):
                await api.deploy(_body([*kept.values(), *wanted.values()]))
            self._looked = None

    async def observe(self, uid: str) -> Observation:
        try:
            there = await self._applications()
            if (self._world.area().services / uid).exists():
                # The server's address and key may be others than when it was deployed.
                await asyncio.to_thread(self._link, uid)
        except (RaysvcError, OSError) as error:
            return Observation(seen=Seen.UNKNOWN, message=str(error))
        ours = {self._number(name): each for name, each in there.items() if self._owner(name) == uid}
        # The newest that is declared is the one that was last wanted: one that was gone back from is declared no more,
        # and is there while it drains.
        declared = [number for number, each in ours.items() if each.get("deployed_app_config")]
        return serveapp.observation(ours[max(declared or ours)]) if ours else Observation(seen=Seen.ABSENT)

    async def delete(self, uid: str) -> None:
        api = self._world.supervisor.require().api
        async with self._lock:
            there = await api.applications()
            declared = {name: config for name, each in there.items() if (config := each.get("deployed_app_config"))}
            kept = {name: config for name, config in declared.items() if self._owner(name) != uid}
            if len(kept) != len(declared):
                await api.deploy(_body(list(kept.values())))
            elif not any(self._owner(name) == uid for name in there):
                await asyncio.to_thread(self._world.area().forget_service, uid)
            self._looked = None

    async def owned(self) -> AsyncIterator[str]:
        names = await self._world.supervisor.require().api.applications()
        for uid in sorted({uid for name in names if (uid := self._owner(name))}):
            yield uid

    async def logs(self, uid: str, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        async def ended() -> bool:
            return (await self.observe(uid)).seen is Seen.ABSENT

        source = FileLog(lambda: [self._world.area().services / uid / "work"], _LOG, self._world.clock)
        async with aclosing(source.read(offset, ended if follow else None)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _check(self, record: Service) -> None:
        if not self._world.own:
            raise Invalid("Services need a Ray that raysvc starts itself; there is --ray-address.", field="model")
        for _, spec in record.deployed:
            if not spec.model.removeprefix("file://").startswith("/"):
                raise Invalid(
                    f"Here a model is a directory of this machine, by its whole path; {spec.model!r} is none. Download "
                    "it, and give its path.",
                    field="model",
                )
            if spec.engine.pipeline_parallel * spec.engine.tensor_parallel > max(1, spec.resources.gpus):
                message = "A replica needs tensor_parallel × pipeline_parallel GPUs, and has"
                raise Invalid(f"{message} {spec.resources.gpus:g}.", field="engine")

    def _link(self, uid: str) -> None:
        home = self._world.home
        self._world.area().write_link(uid, json.dumps({"url": home.url, "token": home.token(uid)}))

    def _owner(self, name: str) -> str | None:
        return serveapp.uid_of(self._world.instance, name)

    @staticmethod
    def _number(name: str) -> int:
        return int(name.rpartition("-")[2])

    async def _applications(self) -> dict[str, dict[str, Any]]:
        """Return what Serve said within the last half second. Raises Unavailable."""
        async with self._looking:
            api, now = self._world.supervisor.require().api, asyncio.get_running_loop().time()
            if self._looked is None or self._looked[0] is not api or now - self._looked[1] > _FRESH_S:
                self._looked = api, now, await api.applications()
            return self._looked[2]


def _body(applications: list[dict[str, Any]]) -> dict[str, Any]:
    # No proxies: Serve's would listen on every address of the machine, and carry no request of ours.
    return {"proxy_location": "Disabled", "http_options": {"host": "127.0.0.1"}, "applications": applications}


def _require_model(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise NotFound(f"There is no model in {folder}: it has no config.json.", field="model")


def _program_name() -> str:
    content = hashlib.sha256()
    for name, path in payload.files(payload.serving()):
        content.update(b"%b\0%b" % (name.encode(), hashlib.sha256(path.read_bytes()).digest()))
    return f"serving-{content.hexdigest()[:16]}"


def _publish(area: Area) -> None:
    """Bring `serving/` to where the jobs' user can read it and not change it; named by its contents."""
    folder = area.programs / _program_name()
    if folder.exists():
        return
    draft = area.programs / f".{uuid.uuid4().hex}"
    for name, path in payload.files(payload.serving()):
        target = draft / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    with contextlib.suppress(FileNotFoundError):
        area.publish(draft, folder)
