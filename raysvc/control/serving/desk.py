"""What people do with services: deploy, look, change, delete, ask why."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from raysvc.control.serving.explain import ServiceExplanation, explain
from raysvc.control.serving.intake import Ask, ServiceIntake
from raysvc.control.serving.replicas import ReplicaDesk
from raysvc.control.signal import Signals
from raysvc.domain import access
from raysvc.domain.access import Principal, Resource, Verb
from raysvc.domain.event import Event, EventKind
from raysvc.domain.rendered import Rendered
from raysvc.domain.replica import Sighting
from raysvc.domain.service import (
    Change,
    ReplicaScale,
    Service,
    ServicePhase,
    ServiceSpec,
    deploy,
    revert,
    revise,
    scale,
)
from raysvc.errors import AlreadyExists, Conflict, Invalid, StaleVersion
from raysvc.ports import Clock, Ids, ServiceRecords


class Receipt(NamedTuple):
    """The service as it is kept, or in a dry run would be. `created` is False where it was there just so."""

    service: Service
    created: bool
    warnings: tuple[str, ...] = ()
    rendered: Rendered | None = None


class ServiceDesk:
    """Each verb checks the principal first. Writes are compare-and-set, and tried again where the loop was first.

    With `dry_run` a verb makes the same checks, keeps nothing, and says what the backend would be sent.
    """

    def __init__(
        self,
        records: ServiceRecords,
        intake: ServiceIntake,
        replicas: ReplicaDesk,
        clock: Clock,
        ids: Ids,
        signals: Signals,
    ) -> None:
        self._records = records
        self._intake = intake
        self._replicas = replicas
        self._clock = clock
        self._ids = ids
        self._signals = signals

    async def get(self, principal: Principal, project: str, name: str) -> Service:
        """Return the service; raises NotFound, also for a project the principal cannot see."""
        access.authorise(principal, Verb.READ, Resource.SERVICE, project)
        return await self._records.get(project, name)

    async def find(self, principal: Principal, project: str | None) -> Sequence[Service]:
        """Return the services of the project, or of all the principal sees, oldest first; raises NotFound."""
        if project is not None:
            access.authorise(principal, Verb.READ, Resource.SERVICE, project)
        services = await self._records.live()
        return [it for it in services if principal.sees(it.project) and project in {None, it.project}]

    def replicas(self, service: Service) -> tuple[Sighting, ...]:
        """Return the replicas of the service that were heard of lately."""
        return self._replicas.of(service.uid)

    async def deploy(
        self, principal: Principal, project: str, name: str, spec: ServiceSpec, *, dry_run: bool = False
    ) -> Receipt:
        """Make a service; when this returns it is durable. May be repeated: the same again is the one that is there.

        Raises AlreadyExists where there is another of that name, and what `ServiceIntake.review` raises.
        """
        access.authorise(principal, Verb.SUBMIT, Resource.SERVICE, project)
        warnings = await self._intake.review(Ask(principal, project, name, spec))
        now = self._clock.now()
        service, event = deploy(spec, name=name, uid=self._ids.uid(now), project=project, owner=principal.name, now=now)
        events = [event]
        for warning in warnings:
            service, event = service.change(EventKind.WARNED, now, actor="policy", message=warning)
            events.append(event)
        rendered = self._intake.driver().render(service)
        if dry_run:
            return Receipt(service, created=True, warnings=warnings, rendered=rendered)
        try:
            await self._records.add(service, events)
        except AlreadyExists:
            there = await self._records.get(project, name)
            if there.spec != spec or there.stop_requested or there.phase is ServicePhase.FAILED:
                raise
            return Receipt(there, created=False, warnings=warnings)
        self._signals.notify(Signals.SERVICES)
        return Receipt(service, created=True, warnings=warnings)

    async def update(
        self, principal: Principal, project: str, name: str, spec: ServiceSpec, *, dry_run: bool = False
    ) -> Receipt:
        """Ask for another spec: a new revision, unless only the number of replicas is another. May be repeated.

        The same spec again changes nothing, and is tried anew where the service has FAILED. Raises NotFound, Conflict,
        and what `ServiceIntake.review` raises.
        """

        def step(service: Service) -> list[Change]:
            same = spec.model_copy(update={"replicas": service.spec.replicas}) == service.spec
            if not same or service.phase is ServicePhase.FAILED:
                return revise(service, spec, self._clock.now(), actor=principal.name)
            if spec.replicas != service.spec.replicas:
                return scale(service, spec.replicas, self._clock.now(), actor=principal.name)
            return []

        return await self._change(principal, project, name, step, dry_run=dry_run)

    async def scale(
        self, principal: Principal, project: str, name: str, replicas: ReplicaScale, *, dry_run: bool = False
    ) -> Receipt:
        """Ask for another number of replicas; no engine is started anew. May be repeated. Raises as `update`."""

        def step(service: Service) -> list[Change]:
            if service.spec.replicas == replicas:
                return []
            return scale(service, replicas, self._clock.now(), actor=principal.name)

        return await self._change(principal, project, name, step, dry_run=dry_run)

    async def rollback(
        self, principal: Principal, project: str, name: str, to: int | None = None, *, dry_run: bool = False
    ) -> Receipt:
        """Go back to an earlier revision's spec, by default that of the last one that did not fail.

        From a revision that is still on its way, back to the one that serves. Raises Invalid for a revision that is not
        kept, Conflict where there is none to go back to, and as `update`.
        """

        def step(service: Service) -> list[Change]:
            number = _earlier(service) if to is None else to
            found = service.of(number)
            if found is None:
                kept = ", ".join(str(it.number) for it in service.revisions)
                raise Invalid(f"Service {name} has no revision {number}; those kept are {kept}.", field="to")
            if number == service.revision:
                raise Conflict(f"Service {name} is at revision {number} already.")
            now = self._clock.now()
            if number == service.serving:
                return revert(service, now, actor=principal.name)
            spec = found.spec.model_copy(update={"replicas": service.spec.replicas})
            return revise(service, spec, now, actor=principal.name, note=f", with the spec of revision {number}")

        return await self._change(principal, project, name, step, dry_run=dry_run)

    async def delete(self, principal: Principal, project: str, name: str, *, dry_run: bool = False) -> Service:
        """Wish the service to end; it is GONE once its replicas are. Durable on return; may be repeated."""
        access.authorise(principal, Verb.DELETE, Resource.SERVICE, project)
        while True:
            service = await self._records.get(project, name)
            if service.stop_requested or dry_run:
                return service
            said = f"deletion asked for by {principal.name}"
            after, event = service.change(
                EventKind.STOP_REQUESTED, self._clock.now(), actor=principal.name, message=said, stop_requested=True
            )
            if await self._save(after, [event]):
                return after

    async def explain(self, principal: Principal, project: str, name: str) -> ServiceExplanation:
        """Return why the service is in its phase and what happens next."""
        service = await self.get(principal, project, name)
        ready = self._replicas.ready(service.uid).get(service.revision, 0)
        return explain(service, ready, self._clock.now())

    async def events(self, principal: Principal, service: Service, *, after: int, limit: int) -> Sequence[Event]:
        """Return the service's events with seq > after, oldest first."""
        access.authorise(principal, Verb.READ, Resource.SERVICE, service.project)
        return await self._records.events(service.uid, after=after, limit=limit)

    def logs(self, principal: Principal, service: Service, *, offset: int, follow: bool) -> AsyncIterator[bytes]:
        """Return the output of its replicas from byte `offset`; raises Conflict where nothing is served here."""
        access.authorise(principal, Verb.READ, Resource.LOG, service.project)
        return self._intake.driver().logs(service.uid, offset=offset, follow=follow)

    async def _change(
        self,
        principal: Principal,
        project: str,
        name: str,
        step: Callable[[Service], list[Change]],
        *,
        dry_run: bool,
    ) -> Receipt:
        access.authorise(principal, Verb.SUBMIT, Resource.SERVICE, project)
        while True:
            service = await self._records.get(project, name)
            if service.stop_requested:
                raise Conflict(f"Service {name} is being deleted; deploy it anew once it is gone.")
            changes = step(service)
            if not changes:
                return Receipt(service, created=False)
            after = changes[-1][0]
            warnings = await self._intake.review(Ask(principal, project, name, after.spec, before=service))
            rendered = self._intake.driver().render(after)
            if dry_run:
                return Receipt(after, created=True, warnings=warnings, rendered=rendered)
            if await self._save(after, [event for _, event in changes]):
                return Receipt(after, created=True, warnings=warnings)

    async def _save(self, service: Service, events: Sequence[Event]) -> bool:
        try:
            await self._records.save(service, events)
        except StaleVersion:
            return False  # the loop moved it meanwhile: decide anew on what it is now
        self._signals.notify(service.uid)
        self._signals.notify(Signals.SERVICES)
        return True


def _earlier(service: Service) -> int:
    """Return the revision that a rollback without a number means; raises Conflict where there is none."""
    if service.serving not in {0, service.revision}:
        return service.serving
    good = [it.number for it in service.revisions if it.reason is None and it.number < service.revision]
    if not good:
        raise Conflict(f"Service {service.id} has no earlier revision to go back to.")
    return max(good)
