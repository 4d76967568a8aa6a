"""Durable submits: how many a second, and how long one takes at 200 a second, beside Ray's own job server."""

import asyncio
import json
import tempfile
from pathlib import Path

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
BATCH = 200


def run(*, quick: bool) -> Report:
    """Load one server with admission paused (what is measured is acceptance), then Ray's job server beside it."""
    rounds, seconds = (2, 2.0) if quick else (5, 6.0)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "ten.yaml").write_text(POLICY)
        with running("--policies", folder) as server, RayPeer(server.data_dir) as peer:
            with raysvc.Client(server.url, server.token) as client:
                client.admission.pause("benchmark")
            samples = asyncio.run(_measure(server, rounds, seconds))
            samples["peer_submits_per_s"] = [peer.submits_per_s(10 if quick else 30) for _ in range(rounds)]
    metrics = {name: median(values) for name, values in samples.items() if not name.startswith("peer")}
    theirs = {"submits_per_s": median(samples["peer_submits_per_s"])}
    ratios = {"submits_per_s": metrics["submits_per_s"] / theirs["submits_per_s"]}
    return Report("submit", metrics, theirs, ratios, samples)


async def _measure(server: Server, rounds: int, seconds: float) -> dict[str, list[float]]:
    single = load.post(server.url, "/api/jobs/", server.token, json.dumps(BODY).encode())
    jobs = [{"spec": {"entrypoint": BODY["entrypoint"]}} for _ in range(BATCH)]
    batch = load.post(server.url, "/v1/jobs:batch", server.token, json.dumps({"jobs": jobs}).encode())
    samples: dict[str, list[float]] = {"submits_per_s": [], "batch_submits_per_s": [], "p99_ms_at_200_per_s": []}
    for _ in range(rounds):
        rate = await load.closed_loop(server.url, lambda _: single, connections=32, seconds=seconds)
        samples["submits_per_s"].append(rate)
        batches = await load.closed_loop(server.url, lambda _: batch, connections=4, seconds=seconds)
        samples["batch_submits_per_s"].append(batches * BATCH)
        latencies = await load.open_loop(server.url, lambda _: single, rate=200, seconds=seconds)
        samples["p99_ms_at_200_per_s"].append(1000 * quantile(latencies, 0.99))
    return samples
