"""The planner: milliseconds for a model over every machine of the catalogue, and how far off its KV figures are.

The peers are two planners' published arithmetic on the same logged starts, with this planner's weights (so that only
their way to count overhead differs): KAITO 0.12 (weights × 1.02 × 1.05 and 2.3 GiB) and llm-d-planner (5.5 GiB of
activation, 8 for mixtures, per replica; 0.15 GiB outside torch, 0.6 with tensor parallelism). All three were made with
some of these starts at hand: the figures show how well each holds together, not how it does on unseen ones.
"""

import time
from collections.abc import Callable
from datetime import date

from benchmarks.report import Report, median, quantile
from raysvc.planner import Candidate, PlanRequest, load_catalogue, plan
from raysvc.planner.observed import Start, observed_starts

TODAY = date(2026, 11, 24)


def run(*, quick: bool) -> Report:
    """Plan each model of the catalogue over all SKUs, in turn; then hold every logged start against the estimate."""
    samples, cpu = _times(2 if quick else 15)
    medians = [median(values) for values in samples.values()]
    started = [(it, _predicted(it)) for it in observed_starts("rows") if "kv" in it.seen]
    refused = [(it, _predicted(it)) for it in observed_starts("refused")]
    errors = [it.kv_available_gib - start.seen["kv"] for start, it in started]
    metrics = {
        "plan_ms": median(medians),
        "slowest_model_plan_ms": max(medians),
        "p99_plan_ms": quantile([value for values in samples.values() for value in values], 0.99),
        "cpu_ms": median(cpu),
        "skus": float(len(load_catalogue().skus)),
        "logged_starts": float(len(started)),
        "kv_error_gib": _mean_error(started, _ours),
        "worst_kv_error_gib": max(map(abs, errors)),
        "false_fits": float(sum(it.fits for _, it in refused)),
        "missed_fits": float(sum(not it.fits for _, it in started)),
    }
    peer = {"kaito_kv_error_gib": _mean_error(started, _kaito), "llm_d_kv_error_gib": _mean_error(started, _llm_d)}
    for name, budget in (("kaito", _kaito), ("llm_d", _llm_d)):
        peer[f"{name}_false_fits"] = float(sum(_fits(start, it, budget) for start, it in refused))
        peer[f"{name}_missed_fits"] = float(sum(not _fits(start, it, budget) for start, it in started))
    ratios = {
        f"kv_error_to_{name}": metrics["kv_error_gib"] / peer[f"{name}_kv_error_gib"] for name in ("kaito", "llm_d")
    }
    return Report("planner", metrics, peer, ratios, {**samples, "kv_error_gib": errors})


def _times(rounds: int) -> tuple[dict[str, list[float]], list[float]]:
    """Return the wall time of each plan by model, and the processor time of all, which other work does not lengthen."""
    names = [entry.name for entry in load_catalogue().models]
    requests = {f"plan_ms {name}": PlanRequest(model=name, today=TODAY, concurrency=16) for name in names}
    for request in requests.values():  # engines and names are parsed once a process
        plan(request)
    times: dict[str, list[float]] = {name: [] for name in requests}
    cpu = []
    for _ in range(rounds):
        for name, request in requests.items():
            began, busy = time.perf_counter(), time.process_time()
            plan(request)
            times[name].append(1000 * (time.perf_counter() - began))
            cpu.append(1000 * (time.process_time() - busy))
    return times, cpu


def _predicted(start: Start) -> Candidate:
    (candidate,) = plan(start.request).candidates
    return candidate


Budget = Callable[[Start, Candidate], float]


def _mean_error(started: list[tuple[Start, Candidate]], budget: Budget) -> float:
    return sum(abs(budget(start, it) - start.seen["kv"]) for start, it in started) / len(started)


def _fits(start: Start, it: Candidate, budget: Budget) -> bool:
    return budget(start, it) >= it.kv_needed_gib


def _ours(_: Start, it: Candidate) -> float:
    return it.kv_available_gib


def _kaito(start: Start, it: Candidate) -> float:
    return _given(start, it) - it.weights_gib_per_gpu * 1.02 * 1.05 - 2.3


def _llm_d(start: Start, it: Candidate) -> float:
    mixture = any(mark in start.request.model for mark in ("gpt-oss", "-A3B", "-A22B"))
    activation = (8.0 if mixture else 5.5) / it.tensor_parallel
    return _given(start, it) - it.weights_gib_per_gpu - activation - (0.15 if it.tensor_parallel == 1 else 0.6)


def _given(start: Start, it: Candidate) -> float:
    usable = start.request.usable_gib or load_catalogue().gpu(it.gpu).usable_gib
    return usable * it.gpu_memory_utilization
