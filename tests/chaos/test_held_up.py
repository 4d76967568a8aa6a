"""A process that is stopped goes on holding its locks. Who takes over from it must not wait for them."""

import fcntl
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from raysvc.blobs import lock
from raysvc.blobs.directory import DirectoryBlobs
from raysvc.bootstrap.clock import SystemClock
from raysvc.errors import Unavailable
from raysvc.store import SqlStore, schema
from raysvc.store.engine import open_writer, parse
from tests.chaos.process import FAILOVER_S


async def test_its_rows_are_let_go(database: str) -> None:
    clock = SystemClock()
    store = SqlStore(database, clock)
    await store.open()
    stopped = open_writer(parse(database))
    try:
        assert await store.leases.acquire("reconciler", "one", now=clock.now(), ttl_s=1.0)
        with stopped.connect() as connection:
            connection.execute(sa.update(schema.lease).values(holder="the one that is stopped", deadline=0))
            began = time.monotonic()
            assert await store.leases.acquire("reconciler", "two", now=clock.now(), ttl_s=600.0) is None
            assert time.monotonic() - began < FAILOVER_S
            connection.invalidate()
    finally:
        stopped.dispose()
        await store.close()


async def test_its_logs_are_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE_S", 0.1)
    blobs = DirectoryBlobs(tmp_path)
    await blobs.append("logs/a.log", b"one\n", at=0)
    with (tmp_path / "logs" / "a.log").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="Another server"):
            await blobs.append("logs/a.log", b"two\n", at=4)
    assert await blobs.append("logs/a.log", b"two\n", at=4) == 8
