"""200 followers of live jobs' logs, and a log of 2 GiB: how far behind, at what cost, in how much memory.

Four jobs write ten lines a second, each with the time at which it was written; half of the followers read the events
of /v1, half the WebSocket of Ray's API, and each notes how old a line is when it has come. The peer is Ray's own
WebSocket, on the same head, following the same jobs in the same seconds, with ten followers (Ray's own reads the file
for each). All of it runs on one machine, the followers too, so the lag includes their own turn at a core.

The large log is the file of an ended job in the server's blob store, put there by the benchmark. It is read at offsets,
followed, shown on the job's page, asked for its last lines, and followed by connections that never read.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil
import websockets

import raysvc
from benchmarks.raypeer import RayPeer
from benchmarks.report import Report, median, quantile
from benchmarks.server import Server, running
from raysvc.client.model import Job

JOBS = 4
WRITER = """import sys, time
until = time.time() + float(sys.argv[1])
while time.time() < until:
    print(f"@{time.time():.6f} " + "x" * 80, flush=True)
    time.sleep(0.1)
"""
LARGE = 2 << 30
LINE = b"y" * 99 + b"\n"
Lags = list[float]


class Crowd(NamedTuple):
    """How many follow us, how many follow Ray, and for how long they are measured."""

    followers: int
    peers: int
    seconds: float


def run(*, quick: bool) -> Report:
    """Follow, then read the large log; memory is sampled all the while."""
    crowd = Crowd(40, 4, 8.0) if quick else Crowd(200, 10, 30.0)
    with running("--max-running-jobs", str(JOBS)) as server, RayPeer(server.data_dir) as peer:
        with _writing(server, crowd.seconds + 20) as jobs:
            figures, samples = asyncio.run(_follow(server, peer, jobs, crowd))
        figures |= asyncio.run(_large(server, LARGE // 16 if quick else LARGE))
    theirs = {name: figures.pop(name) for name in list(figures) if name.startswith("ray_")}
    ratios = {"lag_p50": figures["lag_p50_ms"] / theirs["ray_lag_p50_ms"]}
    return Report("logs", figures, theirs, ratios, samples)


@contextmanager
def _writing(server: Server, seconds: float) -> Iterator[list[Job]]:
    """Let the jobs run that write, until the block ends."""
    with (
        tempfile.NamedTemporaryFile("w", suffix=".py", prefix="raysvc-bench-") as script,
        raysvc.Client(server.url, server.token) as client,
    ):
        script.write(WRITER)
        script.flush()
        Path(script.name).chmod(0o644)
        ids = [client.jobs.submit(entrypoint=f"python -u {script.name} {seconds}").id for _ in range(JOBS)]
        while not all(client.jobs.get(job_id).phase == "RUNNING" for job_id in ids):
            time.sleep(0.1)
        yield [client.jobs.get(job_id) for job_id in ids]
        for job_id in ids:
            client.jobs.stop(job_id)


async def _follow(
    server: Server, peer: RayPeer, jobs: list[Job], crowd: Crowd
) -> tuple[dict[str, float], dict[str, Lags]]:
    process, host = psutil.Process(server.pid), urlsplit(server.url).netloc
    bearer = {"Authorization": f"Bearer {server.token}"}
    lags: Lags = []
    late: Lags = []
    readers: list[Coroutine[None, None, None]] = []
    for number in range(crowd.followers):
        job = jobs[number % JOBS]
        if number // JOBS % 2:
            readers.append(_socket(f"ws://{host}/api/jobs/{job.id}/logs/tail", bearer, lags))
        else:
            readers.append(_events(host, f"/v1/jobs/{job.id}/logs?follow=true", bearer, lags))
    followed = (peer.tail_of(f"job-{jobs[number % JOBS].uid}-1") for number in range(crowd.peers))
    readers += [_socket(url, headers, late) for url, headers in followed]
    tasks = [asyncio.ensure_future(reader) for reader in readers]
    await asyncio.sleep(3)  # all are connected, and have what was written before
    lags.clear()
    late.clear()
    before, rss, began = sum(process.cpu_times()[:2]), process.memory_info().rss, time.monotonic()
    await asyncio.sleep(crowd.seconds)
    wall, cpu = time.monotonic() - began, sum(process.cpu_times()[:2]) - before
    figures = {
        "followers": float(crowd.followers),
        "lines_received_per_s": len(lags) / wall,
        "lag_p50_ms": median(lags),
        "lag_p99_ms": quantile(lags, 0.99),
        "lag_max_ms": max(lags),
        "cpu_percent": 100 * cpu / wall,
        "cpu_percent_per_follower": 100 * cpu / wall / crowd.followers,
        "rss_mb": process.memory_info().rss / 1e6,
        "rss_growth_mb": (process.memory_info().rss - rss) / 1e6,
        "ray_lag_p50_ms": median(late),
        "ray_lag_p99_ms": quantile(late, 0.99),
    }
    assert not [task for task in tasks if task.done()], "a follower was cut off"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return figures, {"lag_ms": lags[:: len(lags) // 500 + 1], "ray_lag_ms": late[:: len(late) // 500 + 1]}


def _note(text: str, lags: Lags) -> None:
    """Note the age, in ms, of each whole line of a piece."""
    now = time.time()
    for line in text.split("\n"):
        if line.startswith("@") and len(line) > 90:
            lags.append(1000 * (now - float(line[1:18])))


async def _events(host: str, path: str, headers: dict[str, str], lags: Lags) -> None:
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port), limit=1 << 21)
    try:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{key}: {value}" for key, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        while line := await reader.readline():
            if line.startswith(b'data: {"offset"'):
                _note(json.loads(line[6:])["text"], lags)
    finally:
        writer.close()


async def _socket(url: str, headers: dict[str, str], lags: Lags) -> None:
    async with websockets.connect(url, additional_headers=headers, max_size=None, compression=None) as socket:
        async for message in socket:
            _note(str(message), lags)


async def _large(server: Server, size: int) -> dict[str, float]:
    """Give an ended job a log of that size, and read it in every way; the memory is the most that was seen."""
    process, host = psutil.Process(server.pid), urlsplit(server.url).netloc
    bearer = {"Authorization": f"Bearer {server.token}"}
    with raysvc.Client(server.url, server.token) as client:
        job = client.jobs.wait(client.jobs.submit(entrypoint="true").id, timeout=120)
    log = server.data_dir / "blobs" / "logs" / job.uid / "1.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        for _ in range(size // (1 << 20)):
            file.write(LINE * ((1 << 20) // len(LINE)))
    real = log.stat().st_size
    most = base = process.memory_info().rss
    figures: dict[str, float] = {"large_log_gib": real / (1 << 30)}
    async with httpx.AsyncClient(base_url=server.url, headers=bearer, timeout=60, trust_env=False) as client_:

        async def timed(name: str, ask: Callable[[], Awaitable[httpx.Response]], rounds: int = 10) -> httpx.Response:
            nonlocal most
            times = []
            for _ in range(rounds):
                began = time.perf_counter()
                reply = (await ask()).raise_for_status()
                times.append(1000 * (time.perf_counter() - began))
                most = max(most, process.memory_info().rss)
            figures[name] = median(times)
            return reply

        at = real // 2 // len(LINE) * len(LINE)
        logs = f"/v1/jobs/{job.id}/logs"
        piece = await timed("large_read_1_mib_ms", lambda: client_.get(logs, params={"offset": at}))
        assert piece.content[:100] == LINE
        await timed("large_last_64_kib_ms", lambda: client_.get(logs, params={"offset": -65536}))
        last = await timed(
            "large_last_1000_lines_ms",
            lambda: client_.get("/api/v0/logs/file", params={"submission_id": job.id, "lines": 1000}),
        )
        assert last.content.count(b"\n") == 1000
        await timed("large_page_ms", lambda: client_.get(f"/jobs/{job.id}"))
    figures["large_rss_growth_mb"] = (most - base) / 1e6
    before = process.memory_info().rss
    stalled = [await _stalled(host, f"{logs}?follow=true", bearer) for _ in range(40)]
    await asyncio.sleep(5)
    figures["rss_growth_per_stalled_follower_kb"] = (process.memory_info().rss - before) / 1e3 / len(stalled)
    for writer in stalled:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return figures


async def _stalled(host: str, path: str, headers: dict[str, str]) -> asyncio.StreamWriter:
    """Begin to follow the log from its first byte, and read nothing of it."""
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *(f"{key}: {value}" for key, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    reader._transport.pause_reading()  # type: ignore[attr-defined]  # noqa: SLF001 asyncio has no public way
    return writer
