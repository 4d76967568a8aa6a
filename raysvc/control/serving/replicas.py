"""Replicas as they report: who is ready, which keys open it, what it has metered.

Kept in memory, and told to the other servers through the store: a replica reports to one of them, and each has a proxy.
"""

import hmac
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from raysvc.control.key import KeyDesk
from raysvc.control.signal import Signals
from raysvc.control.usage import UsageDesk
from raysvc.domain.replica import ReplicaOrders, ReplicaReport, ReplicaState, Sighting
from raysvc.domain.service import Service
from raysvc.errors import Invalid, NotFound, Unauthenticated
from raysvc.ports import Clock, ServiceRecords, Sightings, Target

# A replica that is silent for longer counts for nothing. It reports every second or two, also while it is busy.
FRESH = timedelta(seconds=10)
# How often other servers are told of one that reports the same again and again.
_TOLD = timedelta(seconds=3)
_Name = tuple[str, str]
Rule = Callable[[str], bool]


class ReplicaDesk:
    """What replicas say to this server, and what others have heard.

    `admission`: the token of a service's replicas by its uid, and where replicas may be. Clients' prompts and keys are
    sent there, and a replica runs code of its model's author: it cannot name any host it likes.
    """

    def __init__(
        self,
        records: tuple[ServiceRecords, Sightings],
        desks: tuple[KeyDesk, UsageDesk],
        admission: tuple[Callable[[str], str], Rule],
        clock: Clock,
        signals: Signals,
    ) -> None:
        self._services, self._sightings = records
        self._keys, self._usage = desks
        self._token, self._hosts = admission
        self._clock = clock
        self._signals = signals
        self._seen: dict[_Name, Sighting] = {}
        self._told: dict[_Name, Sighting] = {}
        self._born = clock.now()

    @property
    def settled(self) -> bool:
        """Whether every replica has had its turn to report since this server began."""
        return abs(self._clock.now() - self._born) >= FRESH

    async def report(self, secret: str, report: ReplicaReport) -> ReplicaOrders:
        """Take a replica's report, and return what it has to know. May be repeated.

        Raises Unauthenticated for a token that is not this service's, Invalid for a host where no replica can be,
        NotFound for a service that is gone, Unavailable.
        """
        if not hmac.compare_digest(secret.encode(), self._token(report.service).encode()):
            raise Unauthenticated("This is not the token of that service's replicas.")
        if not self._hosts(report.host):
            raise Invalid(
                "Replicas run on this server's own machine, so requests are sent to no other: report 127.0.0.1.",
                field="host",
            )
        service = await self._services.get_by_uid(report.service)
        if service.deleted:
            raise NotFound(f"Service {service.id} is deleted, and its replicas are to go.")
        self._take(report)
        through = await self._usage.take(report, project=service.project, service=service.id)
        count = max(1, sum(self._fresh(it) for it in self.of(service.uid)))
        version, keys = await self._keys.grants(service.project, service.id, count, replica=report.replica)
        return ReplicaOrders(
            usage_through=through, keys_version=version, keys=None if version == report.keys_version else keys
        )

    def of(self, uid: str) -> tuple[Sighting, ...]:
        """Return the service's replicas that were heard of lately, by name."""
        return tuple(it for (service, _), it in sorted(self._seen.items()) if service == uid and self._fresh(it))

    def ready(self, uid: str) -> Mapping[int, int]:
        """Return how many replicas of each revision take requests."""
        return Counter(it.revision for it in self.of(uid) if it.state is ReplicaState.READY)

    def targets(self, uid: str, revision: int) -> tuple[Target, ...]:
        """Return where the replicas of a revision take requests."""
        return tuple(
            Target(replica=it.replica, host=it.host, port=it.port)
            for it in self.of(uid)
            if it.revision == revision and it.state is ReplicaState.READY
        )

    async def exchange(self, services: Sequence[Service]) -> None:
        """Tell the other servers what is new here, and hear what is new to them. Raises Unavailable."""
        now = self._clock.now()
        there = {service.uid for service in services}
        self._seen = {name: it for name, it in self._seen.items() if name[0] in there and self._fresh(it)}
        self._told = {name: it for name, it in self._told.items() if name in self._seen}
        news = [it for name, it in self._seen.items() if self._is_news(it, self._told.get(name))]
        await self._sightings.put(news)
        self._told |= {(it.service, it.replica): it for it in news}
        for it in await self._sightings.since(now - FRESH):
            name = (it.service, it.replica)
            known = self._seen.get(name)
            if known is None or known.at < it.at:
                self._seen[name] = self._told[name] = it

    async def forget(self, before: datetime) -> None:
        """Let go of what was seen before then. Raises Unavailable."""
        await self._sightings.forget(before)

    def _take(self, report: ReplicaReport) -> None:
        name = (report.service, report.replica)
        known = self._seen.get(name)
        told = report.model_dump(include=set(Sighting.model_fields))
        self._seen[name] = it = Sighting(**told, at=self._clock.now())
        if known is None or not self._fresh(known) or _standing(known) != _standing(it):
            self._signals.notify(Signals.SERVICES)

    def _fresh(self, it: Sighting) -> bool:
        return abs(self._clock.now() - it.at) < FRESH

    def _is_news(self, it: Sighting, told: Sighting | None) -> bool:
        return told is None or _standing(told) != _standing(it) or it.at - told.at >= _TOLD


def _standing(it: Sighting) -> tuple[int, str, int, ReplicaState]:
    return it.revision, it.host, it.port, it.state
