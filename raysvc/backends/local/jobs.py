"""Jobs on local Ray, over its REST API. Implements `Driver[Job, JobRef]`."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from raysvc.backends.local.area import Area, disk
from raysvc.backends.local.beneath import folder_below
from raysvc.backends.local.delivery import Delivery
from raysvc.backends.local.driverlog import FileLog
from raysvc.backends.local.pool.fit import check
from raysvc.backends.local.pool.runs import Runs, Start
from raysvc.backends.local.session import Session
from raysvc.backends.local.supervisor import Supervisor
from raysvc.backends.local.watch import LogWatch
from raysvc.backends.rayjob.api import RayApi
from raysvc.backends.rayjob.body import SECRET, Place, current_ref, fill, package_references, render, secret_names, vet
from raysvc.backends.rayjob.restlog import RestLog, log_name
from raysvc.backends.rayjob.status import observation
from raysvc.domain.cluster import ClusterPhase
from raysvc.domain.job import Job, JobRef
from raysvc.domain.observation import ENDED, Observation, Seen
from raysvc.domain.rendered import Rendered
from raysvc.errors import Invalid, NotFound, RaysvcError, Unavailable
from raysvc.ports import Clock, Materials

_STOP_POLL_S = 0.2
# Ray's own grace, and what its processes need beside it on a busy machine.
_STOP_MARGIN_S = 10.0
# The entrypoint of a record without a job: Ray's monitor found a job gone that was deleted within a second of its end,
# and says that it failed (put_status in ray/dashboard/modules/job/common.py).
_REMNANT = "Entrypoint not found."
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

log = structlog.get_logger()


@dataclass(frozen=True)
class World:
    """What jobs on local Ray stand on. `own`: the head is ours, so it reads the work area's files.

    `runs` are the attempts under warm drivers; the others are jobs of Ray's own job server.
    """

    supervisor: Supervisor
    area: Callable[[], Area]
    materials: Materials
    clock: Clock
    instance: str
    own: bool
    stop_grace_s: float
    runs: Runs


class LocalJobs:
    """One attempt is one Ray job, under the name of its JobRef: Ray itself refuses a second of that name.

    Or, where the spec's `driver` is warm, one run in the project's pool, which refuses a second in the same way.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._watch = LogWatch(world.runs.hear, self._logs_now, world.clock)
        self._projects: set[str] = set()

    def render(self, record: Job) -> Rendered:
        checkpoint, output = self._world.area().job_paths(record.uid)
        rendered = render(record, Place(checkpoint, output, self._world.instance))
        if record.spec.driver == "ray":
            return rendered
        *uploads, call = rendered.documents
        if not self._world.own:
            raise Invalid("Warm drivers need a Ray that raysvc starts itself; there is --ray-address.", field="driver")
        check(record, call["body"]["runtime_env"])
        run = {"method": "RUN", "path": f"the pool of project {record.project}", "body": call["body"]}
        return Rendered(format="http", documents=(*uploads, run))

    def vet(self, record: Job) -> None:
        if record.spec.driver == "ray":
            vet(record.spec)
        else:
            self.render(record.model_copy(update={"attempt": 1}))

    def render_stop(self, ref: JobRef) -> Rendered:
        if self._world.runs.knows(ref):
            return Rendered(format="http", documents=({"method": "STOP", "path": ref.name},))
        return Rendered(format="http", documents=({"method": "POST", "path": f"/api/jobs/{ref.name}/stop"},))

    def render_delete(self, ref: JobRef) -> Rendered:
        if self._world.runs.knows(ref):
            return self.render_stop(ref)
        forget = {"method": "DELETE", "path": f"/api/jobs/{ref.name}"}
        return Rendered(format="http", documents=(*self.render_stop(ref).documents, forget))

    async def apply(self, record: Job) -> None:
        session = self._world.supervisor.require()
        area, ref = self._world.area(), current_ref(record)
        body = self.render(record).documents[-1]["body"]
        runtime_env, warm = body["runtime_env"], record.spec.driver == "warm"
        values = {name: await self._secret(record.project, name) for name in secret_names(runtime_env)}
        with disk():
            await asyncio.to_thread(area.job, record.uid)
            delivery = Delivery(self._world.materials, area, shared=self._world.own)
            deliver = delivery.deliver_twice if warm else delivery.deliver
            packages = {
                (kind, name): await deliver(session.api, record.project, kind, name)
                for kind, name in package_references(runtime_env)
            }
            if self._world.own and values:
                runtime_env = await asyncio.to_thread(_keep_apart, area, ref, runtime_env, values)
        self._say_who_shares(record.project)
        uris = {name: package.uri for name, package in packages.items()}
        sent = {**body, "runtime_env": fill(runtime_env, values, uris)}
        if not warm:
            await session.api.submit(sent)
            self._watch.add(ref)
            return
        # The driver has its secrets from us, its workers by the BASH_ENV of the runtime_env, as under Ray's job server.
        variables = {**fill(body["runtime_env"]["env_vars"], values, uris), **sent["runtime_env"]["env_vars"]}
        files = [package.file for package in packages.values()]
        await self._world.runs.start(session, record, Start(sent, variables, self._log(session, ref), *files))

    def _say_who_shares(self, project: str) -> None:
        """Warn once a project: what the API keeps apart, one machine does not."""
        if project not in self._projects:
            self._projects.add(project)
            if len(self._projects) > 1:
                projects = ", ".join(sorted(self._projects))
                log.warning("projects share this machine: their jobs are not isolated", projects=projects)

    async def observe(self, ref: JobRef) -> Observation:
        seen = await self._world.runs.observe(ref) or await self._observe_on_ray(ref)
        if seen.seen in ENDED:
            with suppress(OSError):
                self._world.area().forget_secrets(ref)
        return seen

    async def _observe_on_ray(self, ref: JobRef) -> Observation:
        supervisor = self._world.supervisor
        try:
            record = await supervisor.require().api.job(ref.name)
        except RaysvcError as error:
            return Observation(seen=Seen.UNKNOWN, message=error.message)
        if record is None and supervisor.phase is not ClusterPhase.READY:
            return Observation(seen=Seen.UNKNOWN, message="Ray has no such job, but is not well itself")
        return Observation(seen=Seen.ABSENT) if record is None else observation(record)

    async def stop(self, ref: JobRef) -> None:
        await self._stop(self._world.supervisor.require(), ref)

    async def delete(self, ref: JobRef) -> None:
        """Stop it, wait for its end, forget it. Raises Unavailable where it does not end within Ray's grace."""
        session = self._world.supervisor.require()
        if not await self._ended(session, ref):
            await self._stop(session, ref)
            await self._wait_for_end(session, ref)
        if not self._world.runs.knows(ref):
            await session.api.delete(ref.name)
        with disk():
            await asyncio.to_thread(self._forget, ref)

    async def owned(self) -> AsyncIterator[JobRef]:
        """Yield the Ref of each job that this server sent, not of those that another one on the same Ray did.

        Also of what Ray writes once more of a job that was deleted: nothing runs there, and it says not whose it was.
        """
        for record in await self._world.supervisor.require().api.jobs():
            ref = JobRef.parse(str(record.get("submission_id")))
            ours = (record.get("metadata") or {}).get("raysvc.instance") == self._world.instance
            if ref and (ours or record.get("entrypoint") == _REMNANT):
                yield ref
        for ref in self._world.runs.owned():
            yield ref

    async def changes(self) -> AsyncIterator[JobRef]:
        """Yield attempts as they begin and end: what the pools say, and whose log has grown."""
        watching = asyncio.create_task(self._watch.run(), name="young drivers' logs")
        try:
            async for ref in self._world.runs.changes():
                yield ref
        finally:
            watching.cancel()

    async def logs(self, ref: JobRef, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        async def ended() -> bool:
            return (await self.observe(ref)).seen in ENDED | {Seen.ABSENT}

        async def far() -> RayApi:
            return self._world.supervisor.require().api

        session = self._world.supervisor.session
        files = self._world.own or (session is not None and session.logs is not None)
        near = FileLog(self._log_folders, log_name(ref), self._world.clock)
        source = near if files else RestLog(far, ref, self._world.clock)
        async with aclosing(source.read(offset, ended if follow else None)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _log(self, session: Session, ref: JobRef) -> Path:
        """Return where a warm driver writes: beside the logs of Ray's own jobs."""
        if session.logs is None:
            raise Unavailable("The session of Ray has no folder here.")
        return session.logs / log_name(ref)

    def _logs_now(self) -> Path | None:
        session = self._world.supervisor.session
        return session.logs if session else None

    def _log_folders(self) -> list[Path]:
        """Return where a driver's log may be: this session's folder, and those of sessions before it."""
        session = self._world.supervisor.session
        if session and session.logs and not self._world.own:
            return [session.logs]
        return [folder / "logs" for folder in self._world.area().sessions()]

    def _forget(self, ref: JobRef) -> None:
        """Remove the files that served the attempt. Its log is archived by now, and Ray never removes one."""
        self._world.area().forget_secrets(ref)
        self._world.runs.forget(ref)
        for folder in self._log_folders() if self._world.own else ():
            with suppress(OSError), folder_below(folder) as descriptor:
                os.unlink(log_name(ref), dir_fd=descriptor)

    async def _stop(self, session: Session, ref: JobRef) -> None:
        if self._world.runs.knows(ref):
            await self._world.runs.stop(ref)
        else:
            await session.api.stop(ref.name)

    async def _ended(self, session: Session, ref: JobRef) -> bool:
        """Tell whether the attempt has ended, or is not there. Raises Unavailable."""
        seen = await self._world.runs.observe(ref)
        if seen is not None and seen.seen is Seen.UNKNOWN:
            raise Unavailable(seen.message)
        if seen is None:
            record = await session.api.job(ref.name)
            seen = observation(record) if record is not None else None
        return seen is None or seen.seen in ENDED

    async def _wait_for_end(self, session: Session, ref: JobRef) -> None:
        seconds = self._world.stop_grace_s + _STOP_MARGIN_S
        try:
            async with asyncio.timeout(seconds):
                while not await self._ended(session, ref):
                    await self._world.clock.sleep(_STOP_POLL_S)
        except TimeoutError as error:
            raise Unavailable(f"{ref.name} was told to stop and has not ended within {seconds:.0f} s.") from error

    async def _secret(self, project: str, name: str) -> str:
        try:
            return await self._world.materials.secret(project, name)
        except NotFound as error:
            raise NotFound(
                f"Secret {name!r} does not exist in project {project}. Set it with raysvc secret set {name}.",
                field="secrets",
            ) from error


def _keep_apart(area: Area, ref: JobRef, runtime_env: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """Move the variables that hold a secret from runtime_env.env_vars into the attempt's own file of them."""
    variables: dict[str, str] = runtime_env["env_vars"]
    apart = {name: fill(text, values, {}) for name, text in variables.items() if SECRET.search(text)}
    if not apart:
        return runtime_env
    for name in apart:
        if not _VARIABLE.fullmatch(name):
            raise Invalid(f"{name!r} cannot be the name of an environment variable.", field="runtime_env.env_vars")
    path = area.write_secrets(ref, apart, variables.get("BASH_ENV"))
    rest = {name: text for name, text in variables.items() if name not in apart}
    return {**runtime_env, "env_vars": {**rest, "BASH_ENV": str(path)}}
