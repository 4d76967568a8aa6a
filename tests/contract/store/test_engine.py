"""What the databases are told before the first write: only then is a commit on the disk when it returns."""

from pathlib import Path

from raysvc.store import SqlStore
from raysvc.store.engine import open_reader, open_writer, parse
from raysvc.testing.clock import FakeClock
from tests.contract.store.database import execute
from tests.contract.store.make import added
from tests.postgres import PostgresServer


async def test_sqlite_writes_through_to_the_disk(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/raysvc.db"
    store = SqlStore(url, FakeClock())
    await store.open()
    await added(store)
    engine = open_writer(parse(url))
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    await store.close()


async def test_a_reader_of_sqlite_cannot_write(tmp_path: Path) -> None:
    engine = open_reader(parse(f"sqlite:///{tmp_path}/raysvc.db"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1
    engine.dispose()


def test_postgres_waits_for_the_disk_even_where_it_is_set_up_not_to(postgres: PostgresServer, database: str) -> None:
    url = postgres.url(database)
    for configured, used in (("off", "on"), ("remote_apply", "remote_apply")):
        execute(url, f"ALTER DATABASE {database} SET synchronous_commit = {configured}")
        try:
            engine = open_writer(parse(url))
            with engine.connect() as connection:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == used
            engine.dispose()
        finally:
            execute(url, f"ALTER DATABASE {database} RESET synchronous_commit")
