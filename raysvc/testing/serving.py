"""Services and the proxy in front of them, in memory: replicas that are ready after a while, and say so when asked."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode
from raysvc.domain.rendered import Rendered
from raysvc.domain.replica import ReplicaReport, ReplicaState
from raysvc.domain.service import Service, ServiceSpec
from raysvc.errors import Invalid, NotFound, Unavailable
from raysvc.ports import Clock, Route

PORT = 30_000


class Place(Protocol):
    """What a fake of services needs of the fake backend that it is part of."""

    clock: Clock

    @property
    def ready(self) -> bool: ...
    def unclear(self) -> bool:
        """Return whether a look is to fail, by the dice."""

    def effect(self) -> AbstractContextManager[datetime, None]:
        """Return the faults that befall a call that changes something; it gives the time."""


@dataclass
class _Deployment:
    """What is there of a service: the revision that is wanted, and since when each one's engines start."""

    wanted: int
    specs: dict[int, ServiceSpec]
    since: dict[int, datetime] = field(default_factory=dict)


class FakeServices:
    """Implements `Services`. `startup_s`: how long an engine takes. `failures`: how a model's engines end, by model.

    `refusal`: what it says to every apply. `most` counts, for each service, the revisions that were there at one
    moment, at most; `applied` every apply.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.startup_s = 0.0
        self.refusal = ""
        self.failures: dict[str, tuple[ReasonCode, str]] = {}
        self.there: dict[str, _Deployment] = {}
        self.applied: list[tuple[str, int]] = []
        self.most: dict[str, int] = {}

    def render(self, record: Service) -> Rendered:
        if record.spec.model.startswith("s3://"):
            raise Invalid("The fake has no bucket.", field="model")
        applications = [
            {"name": f"svc-{record.uid}-{number}", "model": spec.model, "replicas": spec.replicas.model_dump()}
            for number, spec in record.deployed
        ]
        body = {"applications": applications}
        return Rendered(format="http", documents=({"method": "PUT", "path": "/api/serve/", "body": body},))

    async def apply(self, record: Service) -> None:
        self.render(record)
        if self.refusal:
            raise Invalid(self.refusal)
        with self._place.effect() as now:
            before = self.there.get(record.uid)
            specs = dict(record.deployed)
            since = {number: (before.since.get(number, now) if before else now) for number in specs}
            self.there[record.uid] = _Deployment(record.revision, specs, since)
            self.applied.append((record.uid, record.revision))
            self.most[record.uid] = max(len(specs), self.most.get(record.uid, 0))

    async def observe(self, uid: str) -> Observation:
        if not self._place.ready or self._place.unclear():
            return Observation(seen=Seen.UNKNOWN, message="The fake cannot tell.")
        found = self.there.get(uid)
        if found is None:
            return Observation(seen=Seen.ABSENT)
        if not self._up(found, found.wanted):
            return Observation(seen=Seen.PENDING)
        failure = self.failures.get(found.specs[found.wanted].model)
        if failure is not None:
            return Observation(seen=Seen.FAILED, cause=failure[0], message=failure[1])
        return Observation(seen=Seen.RUNNING)

    async def delete(self, uid: str) -> None:
        with self._place.effect():
            self.there.pop(uid, None)

    async def owned(self) -> AsyncIterator[str]:
        for uid in sorted(self.there):
            yield uid

    async def logs(self, uid: str, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        del follow
        found = self.there.get(uid)
        text = "".join(f"engine of revision {number} starts\n" for number in found.specs) if found else ""
        if text.encode()[offset:]:
            yield text.encode()[offset:]

    def reports(self) -> list[ReplicaReport]:
        """Return what the replicas that are ready would report now, `min` of each revision, and one at least."""
        return [
            ReplicaReport(
                service=uid,
                revision=number,
                replica=f"{uid}-{number}-{index}",
                host="127.0.0.1",
                port=PORT + number,
                state=ReplicaState.READY,
            )
            for uid, found in sorted(self.there.items())
            for number, spec in found.specs.items()
            if self._up(found, number) and spec.model not in self.failures
            for index in range(max(1, spec.replicas.min))
        ]

    async def speak(
        self, report: Callable[[str, ReplicaReport], Awaitable[object]], token: Callable[[str], str]
    ) -> None:
        """Let each replica that is ready report once; one whose service is gone hears that, and goes on."""
        for each in self.reports():
            with suppress(NotFound):
                await report(token(each.service), each)

    def _up(self, found: _Deployment, number: int) -> bool:
        return self._place.clock.now() - found.since[number] >= timedelta(seconds=self.startup_s)


class FakeEdge:
    """Implements `Edge`: keeps the table. `broken`: it takes none."""

    def __init__(self) -> None:
        self.url = "http://127.0.0.1:8600"
        self.routes: tuple[Route, ...] = ()
        self.taken = 0
        self.up = False
        self.broken = False

    async def start(self) -> None:
        self.up = True

    async def route(self, routes: Sequence[Route]) -> None:
        if self.broken:
            raise Unavailable("The fake proxy takes nothing.")
        self.routes = tuple(routes)
        self.taken += 1

    async def close(self, *, leave_running: bool = False) -> None:
        self.up = leave_running
