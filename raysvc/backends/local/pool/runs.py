"""Attempts that run under a warm driver: started in the project's pool, read from the pool's ledger."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysvc.backends.local.beneath import folder_below, open_below
from raysvc.backends.local.pool.hints import Hints
from raysvc.backends.local.pool.pools import Pools, Terms
from raysvc.backends.local.session import Session
from raysvc.backends.local.warm.ledger import BEGUN, ENDED
from raysvc.backends.rayjob.body import current_ref
from raysvc.backends.rayjob.status import observation
from raysvc.domain.job import Job, JobRef
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode
from raysvc.errors import RaysvcError, Unavailable

_MOST_BYTES = 1 << 18
_LOST = "the pool of warm drivers that ran it has ended before it"


@dataclass(frozen=True)
class Start:
    """What a run needs: the job as Ray would be sent it, the driver's variables with secret values, where it writes."""

    body: dict[str, Any]
    variables: dict[str, str]
    log: Path
    package: Path | None = None


class Runs:
    """The verbs of a job server, for the attempts that a pool knows."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._news: Hints[JobRef] = Hints()
        self._pools = Pools(terms, self._told)

    async def start(self, session: Session, job: Job, start: Start) -> None:
        """Have the project's pool start the job's attempt, once. May be repeated. Raises Unavailable."""
        ref, body = current_ref(job), start.body
        if self._read(ref, BEGUN) is not None:
            return
        name, channel = await self._pools.obtain(session.api, job.project)
        run = {
            "id": ref.name,
            "entrypoint": body["entrypoint"],
            "variables": start.variables,
            # What Ray's job server gives its drivers; without its `job_submission_id`, which would hide ours.
            "config": {
                "runtime_env": body["runtime_env"],
                "metadata": {**body["metadata"], "raysvc.attempt": ref.name},
            },
            "log": str(start.log),
            "node": session.head_node,
        }
        if start.package is not None:
            folder = self._terms.area().pools / name / f"run-{ref.name}"
            run |= {"package": str(start.package), "folder": str(folder)}
        await channel.ask("run", run=run)

    async def observe(self, ref: JobRef) -> Observation | None:
        """Return what is there now, UNKNOWN included; None where no pool ever began it."""
        try:
            begun = self._read(ref, BEGUN)
            if begun is None:
                return None
            lives = self._read(ref, ENDED) is None and await self._lives(begun, ref)
            ended = None if lives else self._read(ref, ENDED)
        except RaysvcError as error:
            return Observation(seen=Seen.UNKNOWN, message=error.message)
        try:
            if lives or ended is not None:
                return observation(ended if ended is not None else begun)
            lost = {"seen": Seen.FAILED, "cause": ReasonCode.DRIVER_LOST, "message": _LOST}
            return observation(begun).model_copy(update=lost)
        except (ValueError, OverflowError, OSError) as error:  # written by a job, not by its pool
            return Observation(seen=Seen.UNKNOWN, message=f"its record makes no sense: {type(error).__name__}")

    async def stop(self, ref: JobRef) -> None:
        """Ask the run to end. Ended counts as success. Raises Unavailable."""
        begun = self._read(ref, BEGUN) or {}
        channel = await self._pools.reach(str(begun.get("pool")))
        if channel is not None:
            await channel.ask("stop", id=ref.name)

    def knows(self, ref: JobRef) -> bool:
        """Tell whether a pool ever began the attempt. Raises Unavailable."""
        return self._read(ref, BEGUN) is not None

    def forget(self, ref: JobRef) -> None:
        """Remove what is kept of an ended run. Absent counts as success. Raises OSError."""
        with folder_below(self._terms.area().runs) as folder:
            # What tells that it was begun goes last: until then it counts as one that was.
            for suffix in (ENDED, BEGUN):
                with suppress(FileNotFoundError):
                    os.unlink(ref.name + suffix, dir_fd=folder)

    def owned(self) -> Iterator[JobRef]:
        """Yield every attempt that a pool began and nobody has forgotten."""
        for path in self._terms.area().runs.glob(f"job-*{BEGUN}"):
            if ref := JobRef.parse(path.name.removesuffix(BEGUN)):
                yield ref

    def hear(self, ref: JobRef) -> None:
        """Take a hint from elsewhere, to be yielded with ours."""
        self._news.add(ref)

    def changes(self) -> AsyncIterator[JobRef]:
        """Yield the attempts that have begun or ended, as it happens."""
        return self._news.follow()

    async def close(self) -> None:
        await self._pools.close()

    async def _lives(self, begun: dict[str, Any], ref: JobRef) -> bool:
        channel = await self._pools.reach(str(begun.get("pool")))
        return channel is not None and (channel.runs(ref.name) or ref.name in await channel.ask("list"))

    def _told(self, name: str) -> None:
        if ref := JobRef.parse(name):
            self.hear(ref)

    def _read(self, ref: JobRef, suffix: str) -> dict[str, Any] | None:
        """Return a record of the ledger; None where there is none. The folder is the jobs': anything may be in it."""
        try:
            descriptor = open_below(self._terms.area().runs, ref.name + suffix)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"The records of warm drivers cannot be read: {error.strerror}.") from error
        with os.fdopen(descriptor, "rb") as file:
            try:
                found = json.loads(file.read(_MOST_BYTES))
            except ValueError:
                found = None
        return found if isinstance(found, dict) else {}
