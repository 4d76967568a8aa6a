"""What comes from the jobs' user may be anything: a socket that speaks nonsense, a ledger that was written over."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from raysvc.backends.local.area import Area
from raysvc.backends.local.pool.channel import Channel
from raysvc.backends.local.pool.pools import Terms
from raysvc.backends.local.pool.runs import Runs
from raysvc.domain.job import JobRef
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode
from raysvc.errors import Unavailable
from raysvc.testing.clock import FakeClock
from tests.unit.backends.warm import short

REF = JobRef(uid="0" * 16, attempt=1)


@asynccontextmanager
async def answering(folder: Path, reply: bytes) -> AsyncIterator[Path]:
    """Serve a socket that answers each line with that, and leave it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(reply)
        writer.close()

    async with await asyncio.start_unix_server(serve, short(folder / "socket")):
        yield folder


@pytest.mark.parametrize(
    "reply",
    [
        b"no json\n",
        b"[1]\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b"x" * (2 << 20) + b"\n",
        b'{"n": 1, "error": "no"}\n',
        b'{"n": 1, "ok": 7}\n',
        b'{"n": [], "ok": 7}\n{"news": {}}\n{"n": 1}\n',
    ],
)
async def test_a_pool_that_speaks_nonsense_is_unavailable(tmp_path: Path, reply: bytes) -> None:
    async with answering(tmp_path, reply) as folder:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(Channel.open(folder, lambda _: None), 12)


@pytest.fixture
def area(tmp_path: Path) -> Area:
    area = Area(tmp_path)
    area.prepare()
    return area


@pytest.fixture
def runs(area: Area) -> Runs:
    clock = FakeClock()
    return Runs(Terms(area=lambda: area, instance="i", most=1, grace_s=1, clock=clock))


def written(area: Area, suffix: str, text: str) -> None:
    (area.runs / f"{REF.name}{suffix}").write_text(text)


async def observed(runs: Runs) -> Observation:
    seen = await runs.observe(REF)
    assert seen is not None
    return seen


async def test_what_no_pool_began_is_not_a_run(runs: Runs) -> None:
    assert await runs.observe(REF) is None
    assert not runs.knows(REF)
    runs.forget(REF)


async def test_a_run_whose_pool_is_gone_is_lost(runs: Runs, area: Area) -> None:
    begun = {"status": "RUNNING", "start_time": 1, "driver_node_id": "n", "pool": "warm-default-00000000-00000000"}
    written(area, ".begun", json.dumps(begun))
    seen = await observed(runs)
    assert (seen.seen, seen.cause, seen.node) == (Seen.FAILED, ReasonCode.DRIVER_LOST, "n")
    assert list(runs.owned()) == [REF]
    written(area, ".ended", '{"status": "SUCCEEDED", "driver_exit_code": 0}')
    assert (await observed(runs)).seen is Seen.SUCCEEDED
    runs.forget(REF)
    assert await runs.observe(REF) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        '{"status": "PARTYING"}',
        '{"status": "SUCCEEDED", "start_time": 1e300, "driver_exit_code": "x"}',
        f'{{"status": "SUCCEEDED", "end_time": {10**30}}}',
        '{"status": "FAILED", "driver_node_id": {"a": 1}}',
        f'{{"status": "FAILED", "driver_exit_code": {10**30}}}',
        '{"status": "FAILED", "message": "\\ud800\\u0000", "error_type": ["x"]}',
        json.dumps({"status": "FAILED", "message": "x" * 200_000}),
    ],
)
async def test_a_ledger_that_was_written_over_breaks_nothing(runs: Runs, area: Area, text: str) -> None:
    written(area, ".begun", '{"pool": "../../../etc"}')
    written(area, ".ended", text)
    seen = await observed(runs)
    assert "\0" not in seen.message
    assert len(seen.message.encode()) < 30_000
    assert seen.model_dump_json()


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/etc/passwd")])
async def test_what_is_no_file_is_not_followed(runs: Runs, area: Area, make: Callable[[Path], None]) -> None:
    make(area.runs / f"{REF.name}.begun")
    seen = await runs.observe(REF)
    assert seen is None or seen.seen is Seen.UNKNOWN
