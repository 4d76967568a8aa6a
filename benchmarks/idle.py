"""What an idle server costs: memory and processor time of the process `raysvc up`, its Ray's processes not counted.

The peer is what Ray itself keeps for the same purpose on the same head in the same minute: the processes of its
dashboard, which is its job server. They do more than ours (the pages and the state API), so the ratio says what raysvc
adds to a machine that has Ray, not that one is better made than the other.
"""

import json
import time
from contextlib import suppress
from pathlib import Path

import psutil

import raysvc
from benchmarks.report import Report, median
from benchmarks.server import running

READY_S = 120.0
SETTLE_S = 5.0


def run(*, quick: bool) -> Report:
    """Let the server be for a minute once its Ray is up; sample the memory each second."""
    seconds = 30 if quick else 60
    samples: dict[str, list[float]] = {"rss_mb": [], "peer_rss_mb": []}
    with running() as server:
        _wait_for_ray(server.url, server.token)
        time.sleep(SETTLE_S)
        ours, theirs = [psutil.Process(server.pid)], _dashboard(server.data_dir)
        before, began = (_cpu_s(ours), _cpu_s(theirs)), time.monotonic()
        for _ in range(seconds):
            time.sleep(1)
            samples["rss_mb"].append(_rss_mb(ours))
            samples["peer_rss_mb"].append(_rss_mb(theirs))
        wall = time.monotonic() - began
        cpu, peer_cpu = (
            100 * (after - at) / wall for after, at in zip((_cpu_s(ours), _cpu_s(theirs)), before, strict=True)
        )
        switches = ours[0].num_ctx_switches().voluntary
        threads = ours[0].num_threads()
    metrics = {
        "rss_mb": max(samples["rss_mb"]),
        "cpu_percent_of_a_core": cpu,
        "threads": float(threads),
        "wakeups_since_start": float(switches),
    }
    peer = {
        "rss_mb": median(samples["peer_rss_mb"]),
        "cpu_percent_of_a_core": peer_cpu,
        "processes": float(len(theirs)),
    }
    ratios = {name: metrics[name] / peer[name] for name in ("rss_mb", "cpu_percent_of_a_core") if peer[name]}
    return Report("idle", metrics, peer, ratios, samples)


def _wait_for_ray(url: str, token: str) -> None:
    """Return when the cluster is ready, and a job would start at once."""
    deadline = time.monotonic() + READY_S
    with raysvc.Client(url, token) as client:
        while True:
            cluster = client.clusters.get("local")
            if cluster.phase == "READY":
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"Ray is {cluster.phase} after {READY_S:.0f} s: {cluster.reason}")
            time.sleep(0.2)


def _dashboard(data_dir: Path) -> list[psutil.Process]:
    """Return the processes of the dashboard of that server's Ray: its head and the modules it has beside it.

    The head is in a session of its own, so it is known by its port.
    """
    port = json.loads((data_dir / "local" / "head.json").read_text())["port"]
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if f"--port={port}" in command and any("dashboard" in word for word in command):
                found += [process, *process.children(recursive=True)]
    return found


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _rss_mb(processes: list[psutil.Process]) -> float:
    return sum(process.memory_info().rss for process in processes) / 1e6
