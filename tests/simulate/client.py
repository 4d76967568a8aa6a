"""Clients that submit, stop and delete, ask again where no answer comes, and remember what they were promised."""

import asyncio
from dataclasses import dataclass
from typing import Any

from raysvc.control.intake import Submission
from raysvc.domain.access import Principal
from raysvc.domain.job import Job, JobSpec
from raysvc.domain.project import Role
from raysvc.errors import AlreadyExists, Conflict, NotFound, Refused, Unavailable
from tests.simulate.plan import FOREVER_S, Op
from tests.simulate.world import Gone, Server, World

ADA = Principal(name="ada", role=Role.MEMBER)
# A client gives up after so many tries, a second apart.
TRIES = 12
AGAIN_S = 1.0


@dataclass
class Promise:
    """What one client knows of its job. `uid` None: it was never told that the job was taken."""

    project: str
    id: str | None
    uid: str | None = None
    stopped: bool = False
    deleted: bool = False
    asked_to_delete: bool = False
    refused: bool = False


class Clients:
    """One client a job."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.promises: dict[int, Promise] = {}
        self.wrongs: list[str] = []

    async def do(self, op: Op) -> None:
        match op.kind:
            case "submit":
                await self._submit(**op.what)
            case "stop" if op.what["job"] in self.promises:
                await self._stop(op.what["job"])
            case "delete" if op.what["job"] in self.promises:
                await self._delete(op.what["job"])

    async def end(self) -> None:
        """Stop what would run for ever."""
        for op in self._world.plan.ops:
            if op.kind == "submit" and f"sleep {FOREVER_S};" in op.what["spec"]["entrypoint"]:
                await self._stop(op.what["job"])

    def _server(self) -> Server:
        return self._world.dice.choice(self._world.servers)

    async def _submit(self, job: int, project: str, keyed: bool, spec: dict[str, Any]) -> None:
        promise = self.promises[job] = Promise(project, None if keyed else f"job-{job}")
        submission = Submission(project, JobSpec.model_validate(spec), promise.id, f"key-{job}" if keyed else None)
        for tried in range(TRIES):
            try:
                receipt = await self._server().ask(lambda platform: platform.intake.submit(ADA, submission))
            except (Gone, Unavailable):
                await asyncio.sleep(AGAIN_S)
            except AlreadyExists:
                # Its own id, and nobody else uses it: an earlier try was taken, and its answer lost.
                if not tried:
                    self.wrongs.append(f"job {job} was refused as a second one at its first try")
                found = await self._ask_for(promise)
                self._promised(job, promise, found)
                return
            except Refused as error:
                self._world.note(f"job {job} is refused: {error.message}")
                promise.refused = True
                return
            else:
                self._promised(job, promise, receipt.job)
                return

    def _promised(self, job: int, promise: Promise, found: Job | None) -> None:
        if found is not None:
            self._world.note(f"job {job} is promised: {found.uid}")
            promise.uid, promise.id = found.uid, found.id
            self._world.uids[job] = found.uid

    async def _ask_for(self, promise: Promise) -> Job | None:
        for _ in range(TRIES):
            try:
                return await self._server().ask(
                    lambda platform: platform.desk.get(ADA, promise.project, promise.id or "")
                )
            except (Gone, Unavailable):
                await asyncio.sleep(AGAIN_S)
            except NotFound:
                return None
        return None

    async def _stop(self, number: int) -> None:
        promise = self.promises[number]
        for _ in range(TRIES):
            if promise.uid is None:
                return
            try:
                await self._server().ask(lambda platform: platform.desk.stop(ADA, promise.project, promise.id or ""))
            except (Gone, Unavailable):
                await asyncio.sleep(AGAIN_S)
            except NotFound:
                if not promise.asked_to_delete:
                    self.wrongs.append(f"job {number} is not to be found when it is stopped")
                return
            else:
                self._world.note(f"job {number} is promised to stop")
                promise.stopped = True
                return

    async def _delete(self, number: int) -> None:
        promise = self.promises[number]
        for _ in range(TRIES):
            if promise.uid is None:
                return
            promise.asked_to_delete = True
            try:
                await self._server().ask(lambda platform: platform.desk.delete(ADA, promise.project, promise.id or ""))
            except (Gone, Unavailable, Conflict):
                await asyncio.sleep(AGAIN_S)
            except NotFound:
                promise.deleted = True
                return
            else:
                self._world.note(f"job {number} is deleted")
                promise.deleted = True
                return
