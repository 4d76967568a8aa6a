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
from typing import Any

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
BATCH = 500
PROGRAMS = ("train", "eval", "sweep", "tune")
TEAMS = ("research", "infra", "vision")
# Single submits: so many different bodies, taken in turn.
BODIES = 64


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


def body(number: int) -> dict[str, Any]:
    """Return what Ray's client would post, each a little different from the one before."""
    entrypoint = f"python {PROGRAMS[number % 4]}.py --steps {100 + number % 50} --seed {number}"
    metadata = {"team": TEAMS[number % 3], "run": f"r{number}"}
    return {"entrypoint": entrypoint, "metadata": metadata, "entrypoint_num_cpus": 1 + number % 3}


def spec(number: int) -> dict[str, Any]:
    """Return a spec as a batch holds them: some name their run, label it, ask for something, set a variable."""
    some: dict[str, Any] = {
        "metadata": {"team": TEAMS[number % 3], "run": f"r{number}"} if number % 2 else None,
        "labels": {"team": TEAMS[number % 3]} if number % 3 else None,
        "resources": {"cpus": 1 + number % 3} if number % 4 == 0 else None,
        "runtime_env": {"env_vars": {"SEED": str(number)}} if number % 5 == 0 else None,
        "name": f"run-{number}" if number % 7 == 0 else None,
    }
    entrypoint = f"python {PROGRAMS[number % 4]}.py --steps {100 + number % 50} --seed {number}"
    return {"entrypoint": entrypoint, **{name: value for name, value in some.items() if value is not None}}


def measure(server: Server, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the samples of each figure, a round after the other."""
    return uvloop.run(_measure(server, rounds, seconds))


async def _measure(server: Server, rounds: int, seconds: float) -> dict[str, list[float]]:
    singles = [load.post(server.url, "/api/jobs/", server.token, json.dumps(body(n)).encode()) for n in range(BODIES)]
    jobs = [{"spec": spec(number)} for number in range(BATCH)]
    batch = load.post(server.url, "/v1/jobs:batch", server.token, json.dumps({"jobs": jobs}).encode())

    def single(number: int) -> bytes:
        return singles[number % BODIES]

    samples: dict[str, list[float]] = {
        name: [] for name in ("submits_per_s", "batch_submits_per_s", "p99_ms_at_200_per_s", "load_cores")
    }
    for _ in range(rounds):
        busy, began = time.process_time(), time.perf_counter()
        rate = await load.closed_loop(server.url, single, connections=32, seconds=seconds)
        samples["submits_per_s"].append(rate)
        samples["load_cores"].append((time.process_time() - busy) / (time.perf_counter() - began))
        batches = await load.closed_loop(server.url, lambda _: batch, connections=4, seconds=seconds)
        samples["batch_submits_per_s"].append(batches * BATCH)
        latencies = await load.open_loop(server.url, single, rate=200, seconds=seconds)
        samples["p99_ms_at_200_per_s"].append(1000 * quantile(latencies, 0.99))
    return samples
