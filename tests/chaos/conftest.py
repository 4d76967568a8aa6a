"""A database of the PostgreSQL for all tests, and a Ray that no server owns."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.ray_head import RayHead
from tests.postgres import PostgresServer


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[RayHead]:
    head = RayHead(tmp_path / "ray")
    try:
        head.start()
        yield head
    finally:
        head.end()
