"""What all tests have in common."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import PostgresServer

# The same examples each time: a change is red for what it did. `--hypothesis-profile=default` looks for new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("same")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()
