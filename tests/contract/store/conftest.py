import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from raysvc.ports import Store
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore
from tests.contract.store.database import empty
from tests.postgres import PostgresServer
from tests.small_disk import small_disk

__all__ = ["small_disk"]


def migrate(url: str) -> None:
    async def once() -> None:
        store = SqlStore(url, FakeClock())
        await store.open()
        await store.close()

    asyncio.run(once())


@pytest.fixture(scope="session")
def database(postgres: PostgresServer) -> str:
    """A database with the schema in it. One for all tests, emptied before each: making one takes longer than a test."""
    name = postgres.create()
    migrate(postgres.url(name))
    return name


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema in it, to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


def _url(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> str:
    if kind == "sqlite":
        copy = shutil.copy(request.getfixturevalue("file"), tmp_path / "raysvc.db")
        return f"sqlite:///{copy}"
    server: PostgresServer = request.getfixturevalue("postgres")
    database: str = request.getfixturevalue("database")
    empty(server.url(database))
    return server.url(database)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    return _url(request, tmp_path, request.param)


@pytest.fixture(params=["sqlite", "postgres"])
def blank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/blank.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


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
