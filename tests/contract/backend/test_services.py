"""The suite of `Services` on the fake; `tests/real` runs it on Ray."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from raysvc.domain.reason import ReasonCode
from raysvc.domain.service import Service, ServiceSpec, deploy
from raysvc.testing.backend import FakeBackend
from raysvc.testing.clock import FakeClock
from tests.contract.backend.lab import MemoryMaterials
from tests.contract.backend.services import ServiceLab, check_failure, check_life, check_rendering

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def service(spec: ServiceSpec) -> Service:
    made, _ = deploy(spec, name="chat", uid="0" * 16, project="default", owner="ada", now=NOW)
    return made


@pytest.fixture
async def lab() -> ServiceLab:
    clock = FakeClock()
    backend = FakeBackend(clock, MemoryMaterials())
    await backend.start()
    backend.services.startup_s = 5
    backend.services.failures["/models/bad"] = (ReasonCode.ENGINE_FAILED, "no such architecture")

    async def until(condition: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(60):
            if await condition():
                return
            clock.advance(1)
        pytest.fail("it takes longer than a minute")

    return ServiceLab(backend.services, ServiceSpec(model="/models/one"), until, ServiceSpec(model="/models/bad"))


async def test_a_service_lives(lab: ServiceLab) -> None:
    await check_life(lab, service(lab.spec))


async def test_rendering_changes_nothing(lab: ServiceLab) -> None:
    await check_rendering(lab, service(lab.spec))


async def test_an_engine_that_cannot_start_says_why(lab: ServiceLab) -> None:
    assert lab.bad is not None
    await check_failure(lab, service(lab.bad))
