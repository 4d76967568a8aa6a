"""What each implementation of `Services` must do. A suite of functions, for fixtures of each backend to run."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from raysvc.domain.observation import Seen
from raysvc.domain.service import Service, ServiceSpec
from raysvc.ports import Services


@dataclass(frozen=True)
class ServiceLab:
    """A place to serve. `spec` is one that becomes RUNNING here, `bad` one whose engine cannot start (None: no such).

    `until` returns once a condition holds, and fails where that takes too long.
    """

    services: Services
    spec: ServiceSpec
    until: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
    bad: ServiceSpec | None = None

    async def reach(self, uid: str, seen: Seen) -> None:
        async def there() -> bool:
            return (await self.services.observe(uid)).seen is seen

        await self.until(there)


async def owned(services: Services) -> set[str]:
    return {uid async for uid in services.owned()}


async def check_life(lab: ServiceLab, service: Service) -> None:
    """It is absent, applied, applied again without a change, runs, is owned, and is absent after its deletion."""
    assert (await lab.services.observe(service.uid)).seen is Seen.ABSENT
    await lab.services.delete(service.uid)
    await lab.services.apply(service)
    await lab.services.apply(service)
    await lab.reach(service.uid, Seen.RUNNING)
    assert service.uid in await owned(lab.services)
    await lab.services.apply(service)
    assert (await lab.services.observe(service.uid)).seen is Seen.RUNNING
    await lab.services.delete(service.uid)
    await lab.reach(service.uid, Seen.ABSENT)
    assert service.uid not in await owned(lab.services)
    await lab.services.delete(service.uid)


async def check_rendering(lab: ServiceLab, service: Service) -> None:
    """Rendering is pure: the same record gives the same documents, and nothing is there after it."""
    assert lab.services.render(service) == lab.services.render(service)
    assert lab.services.render(service).documents
    assert (await lab.services.observe(service.uid)).seen is Seen.ABSENT


async def check_failure(lab: ServiceLab, service: Service) -> None:
    """An engine that cannot start is FAILED, with why, and its output is there."""
    assert lab.bad is not None
    await lab.services.apply(service)
    await lab.reach(service.uid, Seen.FAILED)
    seen = await lab.services.observe(service.uid)
    assert seen.cause is not None
    assert seen.message
    await lab.services.delete(service.uid)
    await lab.reach(service.uid, Seen.ABSENT)
