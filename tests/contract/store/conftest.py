import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from raysvc.ports import Store
from raysvc.store import SqlStore
from raysvc.store.schema import metadata, version
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def database(postgres: PostgresServer) -> str:
    """A database with the schema in it. One for all tests, emptied before each: making one takes longer than a test."""
    name = postgres.create()

    async def migrate() -> None:
        store = SqlStore(postgres.url(name), FakeClock())
        await store.open()
        await store.close()

    asyncio.run(migrate())
    return name


def _url(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> str:
    if kind == "sqlite":
        return f"sqlite:///{tmp_path}/raysvc.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    name: str = request.getfixturevalue("database")
    tables = [table.name for table in reversed(metadata.sorted_tables) if table is not version]
    server.execute("; ".join(f"DELETE FROM {name}" for name in tables), database=name)
    return server.url(name)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return _url(request, tmp_path, request.param)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes stores on the same data; only the real ones can have two open at once."""
    if request.param == "memory":
        memory = MemoryStore()
        return lambda: memory
    url = _url(request, tmp_path, request.param)
    return lambda: SqlStore(url, FakeClock())


@pytest.fixture
async def store(opener: Callable[[], Store]) -> AsyncIterator[Store]:
    store = opener()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def sql(url: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(url, FakeClock())
    await store.open()
    yield store
    await store.close()
