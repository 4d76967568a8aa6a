"""100,000 live jobs and 5,000,000 finished ones in an SQLite store: lists, restart, reconciler, memory.

No system answers such lists that could be asked in the same run: Ray's job list has no filters and no pages, and its
job server could not hold so many jobs. So there is no peer, and no ratio: each figure stands beside the bar of its own.
The cluster is the smallest thing that answers (`benchmarks.history.serve`); the store is built once and kept in the
user's cache directory. Of the live jobs 2,000 occupy the cluster and are looked at once a second; the others wait.

Lists are asked for at a fixed rate and timed from when each was due, first pages and pages far down, by an
administrator, by a member of the largest project, and by a viewer of each of the twenty. `--quick`: 5,000 and 100,000.
"""

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import psutil
import sqlalchemy as sa

from benchmarks import load
from benchmarks.history.build import ADMIN, BORN, MEMBER, VIEWER, born, database
from benchmarks.history.people import FULL, PROJECTS, QUICK, Size
from benchmarks.report import Report, median, quantile
from benchmarks.server import Server
from raysvc.control.housekeeping import BATCH
from raysvc.control.queue import LOOK_AHEAD
from raysvc.control.schedule import schedule
from raysvc.domain.cluster import Cluster, ClusterPhase
from raysvc.domain.query import PlacedRow, Snapshot, WaitingRow
from raysvc.store import job_find, job_read, job_write
from raysvc.store.engine import open_reader, open_writer, parse
from raysvc.store.instant import micros

RATE = 5.0  # lists a second: one reader who pages, and pages that refresh themselves
START_S = 60.0
Samples = dict[str, list[float]]
T = TypeVar("T")


def run(*, quick: bool) -> Report:
    """Measure one server on the kept store; the figures that a writer would change are taken in rolled-back steps."""
    size = QUICK if quick else FULL
    file = database(size)
    samples: Samples = _store(file, rounds=3 if quick else 10)
    metrics = {}
    for _ in range(2 if quick else 5):
        with _serving(file, size.placed) as (_, seconds):
            samples.setdefault("restart_s", []).append(seconds)
    with _serving(file, size.placed) as (server, _):
        process = psutil.Process(server.pid)
        time.sleep(5)
        before, began = sum(process.cpu_times()[:2]), time.monotonic()
        time.sleep(10 if quick else 30)
        metrics["idle_cpu_percent"] = 100 * (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
        samples |= asyncio.run(_lists(server, size, rounds=1 if quick else 2))
        metrics["rss_mb"] = process.memory_info().rss / 1e6
        served_s = time.monotonic() - began + 5
        data_dir = server.data_dir
        process.terminate()
        process.wait(60)
        looks = [int(count) for count in (data_dir / "looks").read_text().split()]
    metrics["looks_per_job_per_s"] = median(list(map(float, looks))) / served_s
    metrics["fewest_looks_per_job_per_s"] = min(looks) / served_s
    metrics["jobs_looked_at"] = float(len(looks))
    lists = [value for name, values in samples.items() if name.startswith("list_ms") for value in values]
    slowest = max((name for name in samples if name.startswith("list_ms")), key=lambda name: median(samples[name]))
    metrics |= {
        "list_p50_ms": median(lists),
        "list_p99_ms": quantile(lists, 0.99),
        "slowest_filter_p50_ms": median(samples[slowest]),
        "restart_s": median(samples["restart_s"]),
        **{name: median(values) for name, values in samples.items() if not name.startswith(("list_ms", "restart"))},
    }
    print(f"slowest filter: {slowest}", file=sys.stderr)
    return Report("scale", metrics, {}, {}, samples)


@contextmanager
def _serving(file: Path, placed: int) -> Iterator[tuple[Server, float]]:
    """Serve the store until the block ends; the seconds are from the exec of the process to its first answer."""
    with tempfile.TemporaryDirectory(prefix="raysvc-bench-") as folder:
        data_dir = Path(folder) / "data"
        data_dir.mkdir(mode=0o700)
        (data_dir / "raysvc.db").symlink_to(file)
        with Path(folder, "log").open("wb") as output:
            command = [sys.executable, "-m", "benchmarks.history.serve", str(data_dir), str(placed)]
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            while not (data_dir / "server.json").exists():
                if process.poll() is not None or time.perf_counter() - began > START_S:
                    raise RuntimeError(f"the server did not come up:\n{Path(folder, 'log').read_text()}")
                time.sleep(0.005)
            told = json.loads((data_dir / "server.json").read_text())
            status = asyncio.run(_ask(told["url"], _get(told["url"], ADMIN, "/v1/jobs")))
            assert status == 200, status
            yield Server(told["url"], ADMIN, told["pid"], data_dir), time.perf_counter() - began
        finally:
            process.terminate()
            process.wait(60)


async def _ask(url: str, request: bytes) -> int:
    line = await load.Connection.open(url)
    try:
        return await line.send(request)
    finally:
        line.close()


def _get(url: str, token: str, path: str) -> bytes:
    host = url.removeprefix("http://")
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def _filters(size: Size) -> dict[str, list[tuple[str, str]]]:
    """Return the filters by what they are: each alone, and those combinations that meet often, rarely and never."""
    middle = born(size.finished // 2)
    day = [
        ("created_after", f"{middle:%Y-%m-%dT%H:%M:%SZ}"),
        ("created_before", f"{middle + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"),
    ]
    big, other, small = ("project", "p00"), ("project", "p01"), ("project", "p15")
    owner, team, gold = ("owner", "o003"), ("label", "team:t1"), ("label", "tier:gold")
    train, sweep = ("name_prefix", "train-"), ("name_prefix", "sweep-")
    failed, cancelled = ("phase", "FAILED"), ("phase", "CANCELLED")
    return {
        "nothing": [],
        "project": [big],
        "small project": [small],
        "phase": [failed],
        "phase of live jobs": [("phase", "QUEUED")],
        "rare phase": [cancelled],
        "owner": [owner],
        "name": [train],
        "name of few": [("name_prefix", "hotfix-")],
        "name of some": [sweep],
        "label": [team],
        "rare label": [gold],
        "label of 100": [("label", "run:r100")],
        "range": day,
        "project, phase": [big, failed],
        "project, owner": [big, owner],
        "project, owner never": [other, owner],
        "project, label": [other, team],
        "project, rare label": [("project", "p09"), gold],
        "project, name": [big, train],
        "project, range": [big, *day],
        "owner, label": [owner, team],
        "owner, phase, name": [owner, failed, train],
        "label, rare phase": [team, cancelled],
        "label, name": [team, sweep],
        "label, running": [team, ("phase", "RUNNING")],
        "name, range": [train, *day],
        "all of them": [big, failed, owner, train, team, *day],
        "all of them, never": [other, failed, owner, train, team],
    }


async def _lists(server: Server, size: Size, rounds: int) -> Samples:
    """Ask for each filter's first page and for one far down, as each of the three; return the times by filter."""
    deep = {"cursor": job_find._cursor(job_find.Key(micros(born(size.total // 3)), "0" * 16))}  # noqa: SLF001
    asked = []
    for name, filters in _filters(size).items():
        for who, token in (("admin", ADMIN), ("member", MEMBER), ("viewer", VIEWER)):
            if who == "member" and any(key == "project" and value != "p00" for key, value in filters):
                continue  # another project's jobs are not found, at no cost
            for place, cursor in (("first", []), ("deep", list(deep.items()))):
                query = urlencode([*filters, *cursor])
                asked.append((f"list_ms {name}, {who}, {place}", _get(server.url, token, f"/v1/jobs?{query}")))
    asked *= rounds
    random.Random(1).shuffle(asked)  # noqa: S311 an order, the same each time
    latencies = await _open_loop(server.url, [request for _, request in asked])
    samples: Samples = {}
    for (name, _), seconds in zip(asked, latencies, strict=True):
        samples.setdefault(name, []).append(1000 * seconds)
    return samples


async def _open_loop(url: str, requests: list[bytes]) -> list[float]:
    """Send each when it is due, whatever the replies do; return their latencies, in order, from when they were due."""
    idle = [await load.Connection.open(url) for _ in range(4)]
    began = time.perf_counter()

    async def one(number: int, request: bytes) -> float:
        due = began + number / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        line = idle.pop() if idle else await load.Connection.open(url)
        status = await line.send(request)
        seconds = time.perf_counter() - due
        assert status == 200, (status, request)
        idle.append(line)
        return seconds

    latencies = await asyncio.gather(*(one(number, request) for number, request in enumerate(requests)))
    for line in idle:
        line.close()
    return latencies


def _store(file: Path, rounds: int) -> Samples:
    """Time what the loops ask of the store and of the scheduler, without a server: processor time of one call."""
    url = parse(f"sqlite:///{file}")
    far = micros(born(FULL.total * 2))
    samples: Samples = {}

    def timed(name: str, call: Callable[[], T]) -> T:
        began = time.thread_time()
        result = call()
        samples.setdefault(name, []).append(1000 * (time.thread_time() - began))
        return result

    with _engine(open_reader(url)) as engine, engine.connect() as connection:
        for _ in range(rounds):
            due = timed("due_ms", partial(job_read.due, connection, far))
            timed("read_500_jobs_ms", partial(job_read.get_many, connection, [row.uid for row in due[:500]]))
            waiting = timed("waiting_ms", partial(job_read.waiting, connection, LOOK_AHEAD))
            placed = timed("placed_ms", partial(job_read.placed, connection))
            timed("schedule_ms", partial(schedule, _snapshot(waiting, placed), BORN))
            timed("count_queued_ms", partial(job_read.count_queued, connection, PROJECTS[0]))
        every = job_read.waiting(connection, FULL.live)
        timed("schedule_a_tenth_of_all_ms", partial(schedule, _snapshot(every[::10], ()), BORN))
        timed("schedule_all_ms", partial(schedule, _snapshot(every, ()), BORN))
    with _engine(open_writer(url)) as engine, engine.connect() as connection:
        for _ in range(rounds):
            transaction = connection.begin()
            pruned = timed("prune_batch_ms", partial(job_write.prune_jobs, connection, far, BATCH))
            assert len(pruned) == BATCH
            transaction.rollback()
    return samples


def _snapshot(waiting: Sequence[WaitingRow], placed: Sequence[PlacedRow]) -> Snapshot:
    """Return what the scheduler sees where the cluster is full."""
    cluster = Cluster(name="c", project="p00", backend="b", phase=ClusterPhase.READY, max_running_jobs=len(placed))
    return Snapshot(waiting=tuple(waiting), placed=tuple(placed), cluster=cluster)


@contextmanager
def _engine(engine: sa.Engine) -> Iterator[sa.Engine]:
    try:
        yield engine
    finally:
        engine.dispose()
