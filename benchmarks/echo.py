"""A short job from submit to end, beside the same job handed to Ray alone on the same head."""

import time

import raysvc
from benchmarks.raypeer import RayPeer
from benchmarks.report import Report, median
from benchmarks.server import running


def run(*, quick: bool) -> Report:
    """Run `echo` jobs in turn, ours and Ray's, A B A B: what is added is the difference of the medians."""
    rounds = 3 if quick else 15
    samples: dict[str, list[float]] = {"echo_s": [], "peer_echo_s": []}
    with running() as server, RayPeer(server.data_dir) as peer, raysvc.Client(server.url, server.token) as client:
        client.jobs.wait(client.jobs.submit(entrypoint="echo warm").id)
        for _ in range(rounds):
            began = time.perf_counter()
            client.jobs.wait(client.jobs.submit(entrypoint="echo hello").id)
            samples["echo_s"].append(time.perf_counter() - began)
            began = time.perf_counter()
            peer.wait(peer.submit("echo hello"))
            samples["peer_echo_s"].append(time.perf_counter() - began)
    ours, theirs = median(samples["echo_s"]), median(samples["peer_echo_s"])
    metrics = {"echo_s": ours, "added_ms": 1000 * (ours - theirs)}
    return Report("echo", metrics, {"echo_s": theirs}, {"echo_s": ours / theirs}, samples)
