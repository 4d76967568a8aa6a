"""What the tests of isolation share: a front with two projects on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from raysvc.domain.project import Role
from tests.isolation.place import INSIDE, OUTSIDE, Place
from tests.isolation.serving import Served, serving
from tests.isolation.tenant import Tenant


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    """Our own log, as it grows."""
    with capture_logs() as caught:
        yield caught


@pytest.fixture
async def place(tmp_path: Path, lines: list[EventDict]) -> AsyncIterator[Place]:
    """A place on the store in memory. Whatever a test sends there, the server must not fail inside."""
    made = Place(tmp_path)
    await made.open()
    await made.settle()
    yield made
    assert not [line for line in lines if line["log_level"] in {"error", "critical"}]


@pytest.fixture
async def served(place: Place) -> AsyncIterator[Served]:
    """Both origins of `place`, on sockets."""
    async with serving(place) as here:
        yield here


@pytest.fixture
async def alice(place: Place) -> Tenant:
    return Tenant(place, INSIDE, await place.bearer(Role.MEMBER, INSIDE))


@pytest.fixture
async def mallory(place: Place) -> Tenant:
    """An admin of the other project: all that one tenant can be."""
    return Tenant(place, OUTSIDE, await place.bearer(Role.ADMIN, OUTSIDE))
