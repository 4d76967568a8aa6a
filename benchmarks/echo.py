"""Short jobs, beside the same ones handed to Ray's own job server on the same head.

One `echo` at a time, from submit to end: what raysvc adds. Then many at once under warm drivers: `echo`, and a driver
that connects to Ray and runs one task.
"""

import time
from pathlib import Path

import psutil

import raysvc
from benchmarks.raypeer import RayPeer
from benchmarks.report import Report, median
from benchmarks.server import running

RAY_JOB = "python -c 'import ray; ray.init(logging_level=\"error\"); print(ray.get(ray.remote(lambda: 1).remote()))'"
# How many at once: ours, and as many of Ray's as it takes to know its rate (it grows unstable beyond about 30).
ECHOS, PEER_ECHOS = 200, 20
RAY_JOBS, PEER_RAY_JOBS = 50, 8


def run(*, quick: bool) -> Report:
    """Run single `echo` jobs in turn, ours, warm and Ray's (what is added is the difference of medians), then many."""
    rounds, share = (3, 4) if quick else (15, 1)
    samples: dict[str, list[float]] = {"echo_s": [], "warm_echo_s": [], "peer_echo_s": []}
    with running() as server, RayPeer(server.data_dir) as peer, raysvc.Client(server.url, server.token) as client:
        for driver in ("ray", "warm"):
            _many(client, 1, "echo first", driver)
        for _ in range(rounds):
            samples["echo_s"].append(_many(client, 1, "echo hello", "ray"))
            samples["peer_echo_s"].append(_peers(peer, 1, "echo hello"))
            samples["warm_echo_s"].append(_many(client, 1, "echo hello", "warm"))
        many = {
            "echos_per_s": ECHOS // share / _many(client, ECHOS // share, "echo hello", "warm"),
            "ray_jobs_per_s": RAY_JOBS // share / _many(client, RAY_JOBS // share, RAY_JOB, "warm"),
        }
        pool_mib = _pool_mib(server.data_dir)
        theirs = {
            "echos_per_s": PEER_ECHOS // share / _peers(peer, PEER_ECHOS // share, "echo hello"),
            "ray_jobs_per_s": PEER_RAY_JOBS // share / _peers(peer, PEER_RAY_JOBS // share, RAY_JOB),
        }
    ours, warm, alone = (median(samples[name]) for name in ("echo_s", "warm_echo_s", "peer_echo_s"))
    metrics = {"echo_s": ours, "added_ms": 1000 * (ours - alone), "warm_echo_s": warm, **many, "pool_mib": pool_mib}
    ratios = {"echo_s": ours / alone, **{name: rate / theirs[name] for name, rate in many.items()}}
    return Report("echo", metrics, {"echo_s": alone, **theirs}, ratios, samples)


def _many(client: raysvc.Client, count: int, entrypoint: str, driver: str) -> float:
    """Return how long that many jobs took, from the first submit to the last end, in seconds."""
    began = time.perf_counter()
    jobs = [client.jobs.submit(entrypoint=entrypoint, driver=driver) for _ in range(count)]
    ended = [client.jobs.wait(job.id) for job in jobs]
    took = time.perf_counter() - began
    assert all(job.phase == "SUCCEEDED" for job in ended), {job.reason.message for job in ended}
    return took


def _peers(peer: RayPeer, count: int, entrypoint: str) -> float:
    """The same through Ray's own job server."""
    began = time.perf_counter()
    ended = [peer.wait(job) for job in [peer.submit(entrypoint) for _ in range(count)]]
    took = time.perf_counter() - began
    assert all(job["status"] == "SUCCEEDED" for job in ended), {job["message"] for job in ended}
    return took


def _pool_mib(data_dir: Path) -> float:
    """Return what the pool takes while it runs nothing: its share of the memory of each of its processes, in MiB."""
    folder = f"{(data_dir / 'work').resolve()}/warm/pools/"
    pools = [p for p in psutil.process_iter(["cmdline"]) if any(folder in part for part in p.info["cmdline"] or ())]
    above = {parent.pid: parent for pool in pools for parent in pool.parents()}
    supervisors = {pid: process for pid, process in above.items() if "JobSupervisor" in str(process.cmdline())}
    processes = {**supervisors, **{pool.pid: pool for pool in pools}}
    return sum(process.memory_full_info().pss for process in processes.values()) / (1 << 20)
