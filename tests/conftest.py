"""What all tests have in common."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import PostgresServer

# The same examples each time: a change is red for what it did. `--hypothesis-profile=default` looks for new ones. Nor
# is a test red for how long an example took: that is the machine's business, which other tests use too.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


def pytest_collection_finish() -> None:
    """Take what is imported by now, most of all there is, out of the collector's sight: each collection is short."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def left_open() -> Iterator[None]:
    """Find what a module's tests left open, and let it fail there: else it fails whichever test runs the collector."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()
