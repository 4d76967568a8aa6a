"""Durable submits: how many a second, and how long one takes at 200 a second, beside Ray's own job server.

One server process, SQLite with synchronous=FULL, a token, 10 CEL rules. `load_cores` is what the load generator itself
took of the processor while single submits were at their most: it shares the machine with the server.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

import raysvc
from benchmarks import load
from benchmarks.raypeer import RayPeer
from benchmarks.report import Report, median, quantile
from benchmarks.server import Server, running

POLICY = "policy: ten\nrules:\n" + "\n".join(
    f"- {{name: r{n}, when: 'job.demand.gpus > {8 + n} || job.priority > {900 + n}', deny: true, message: too much}}"
    for n in range(10)
)
BODY = {"entrypoint": "python train.py --steps 100", "metadata": {"team": "research"}}
BATCH = 500


def run(*, quick: bool) -> Report:
    """Load one server with admission paused (what is measured is acceptance), then Ray's job server beside it."""
    rounds = 2 if quick else 5
    with accepting() as server, RayPeer(server.data_dir) as peer:
        samples = measure(server, rounds, 2.0 if quick else 6.0)
        samples["peer_submits_per_s"] = [peer.submits_per_s(10 if quick else 30) for _ in range(rounds)]
    metrics = {name: median(values) for name, values in samples.items() if not name.startswith("peer")}
    theirs = {"submits_per_s": median(samples["peer_submits_per_s"])}
    ratios = {
        "submits_per_s": metrics["submits_per_s"] / theirs["submits_per_s"],
        "batch_submits_per_s": metrics["batch_submits_per_s"] / theirs["submits_per_s"],
    }
    return Report("submit", metrics, theirs, ratios, samples)


@contextmanager
def accepting(*options: str) -> Iterator[Server]:
    """Serve with ten rules, and start nothing of what is accepted."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "ten.yaml").write_text(POLICY)
        with running("--policies", folder, *options) as server:
            with raysvc.Client(server.url, server.token) as client:
                client.admission.pause("benchmark")
            yield server


def measure(server: Server, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the samples of each figure, a round after the other."""
    return uvloop.run(_measure(server, rounds, seconds))


async def _measure(server: Server, rounds: int, seconds: float) -> dict[str, list[float]]:
    single = load.post(server.url, "/api/jobs/", server.token, json.dumps(BODY).encode())
    jobs = [{"spec": {"entrypoint": f"python train.py --steps 100 --seed {seed}"}} for seed in range(BATCH)]
    batch = load.post(server.url, "/v1/jobs:batch", server.token, json.dumps({"jobs": jobs}).encode())
    samples: dict[str, list[float]] = {
        name: [] for name in ("submits_per_s", "batch_submits_per_s", "p99_ms_at_200_per_s", "load_cores")
    }
    for _ in range(rounds):
        busy, began = time.process_time(), time.perf_counter()
        rate = await load.closed_loop(server.url, lambda _: single, connections=32, seconds=seconds)
        samples["submits_per_s"].append(rate)
        samples["load_cores"].append((time.process_time() - busy) / (time.perf_counter() - began))
        batches = await load.closed_loop(server.url, lambda _: batch, connections=4, seconds=seconds)
        samples["batch_submits_per_s"].append(batches * BATCH)
        latencies = await load.open_loop(server.url, lambda _: single, rate=200, seconds=seconds)
        samples["p99_ms_at_200_per_s"].append(1000 * quantile(latencies, 0.99))
    return samples
