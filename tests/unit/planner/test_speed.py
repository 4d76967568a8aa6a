"""The estimates of speed and of a start, against the figures that people published."""

import pytest

from raysvc.planner import load_catalogue
from raysvc.planner.architecture import Architecture
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.estimate import estimate
from raysvc.planner.quantization import read_quantization
from raysvc.planner.speed import Load, Site, Speed, cold_start_s, estimate_speed
from raysvc.planner.weights import Split, Weights

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def listed(name: str) -> tuple[Architecture, Weights]:
    entry = load_catalogue().model(name)
    assert entry is not None
    config = Config(name, entry.config)
    model = describe(config)
    return model, estimate(model, read_quantization(config))


def speed(
    name: str = LLAMA,
    gpu: str = "H100",
    sequences: int = 1,
    *,
    tp: int = 1,
    fast_links: bool = True,
    eager: bool = False,
) -> Speed:
    model, weights = listed(name)
    site = Site(load_catalogue().gpu(gpu), Split(tp), 131_072 // tp, fast_links=fast_links, eager=eager)
    return estimate_speed(model, weights, site, Load(sequences, prompt=1024, output=256))


def test_one_sequence_is_bound_by_reading_the_weights() -> None:
    fast, slow = speed(gpu="H100"), speed(gpu="L4")

    assert slow.tokens_per_second == pytest.approx(300 * 0.75 / 15, rel=0.15)  # 300 GB/s over 15 GB
    assert 8 < fast.tokens_per_second / slow.tokens_per_second < 11.2  # as their bandwidths


def test_a_batch_is_worth_more_than_one_but_less_than_its_number() -> None:
    one, many = speed().tokens_per_second, speed(sequences=64).tokens_per_second

    assert 10 * one < many < 64 * one


def test_links_without_nvlink_and_eager_launches_cost() -> None:
    assert speed(tp=2).tokens_per_second > speed(tp=2, fast_links=False).tokens_per_second
    assert speed().tokens_per_second > speed(eager=True).tokens_per_second
    assert speed(tp=2).tokens_per_second > speed().tokens_per_second


def test_a_mixture_reads_the_experts_that_a_batch_chose() -> None:
    one, many = speed("Qwen/Qwen3-30B-A3B"), speed("Qwen/Qwen3-30B-A3B", sequences=32)
    dense = speed("Qwen/Qwen3-32B")

    assert one.tokens_per_second > 4 * dense.tokens_per_second  # 3 of 30 billion parameters a token
    assert many.tokens_per_second < 20 * one.tokens_per_second  # by then most experts are read


def test_a_first_token_takes_the_prompts_arithmetic() -> None:
    assert speed(gpu="L4").ttft_s > speed(gpu="H100").ttft_s
    assert speed(gpu="H100").ttft_s == pytest.approx(2 * 8e9 * 1024 / (989e12 * 0.55) + 0.03, abs=0.02)


@pytest.mark.parametrize(
    ("remote", "compiled", "graphs", "seen"),
    [
        # Llama-3.1-8B on L40S, vLLM 0.9, one start with everything and one with caches (tensorfuse.io, 2025-09-01)
        (True, True, 67, 294),
        (False, False, 0, 82),
    ],
)
def test_a_start_takes_about_what_was_logged(remote: bool, compiled: bool, graphs: int, seen: float) -> None:
    model, weights = listed(LLAMA)
    found = cold_start_s(model, weights, graphs=graphs, compiled=compiled, remote=remote)

    assert seen / 1.5 < found < seen * 1.5


def test_what_is_left_out_of_a_start_shortens_it() -> None:
    model, weights = listed(LLAMA)
    whole = cold_start_s(model, weights, graphs=67, compiled=True, remote=True)

    assert cold_start_s(model, weights, graphs=0, compiled=True, remote=True) < whole
    assert cold_start_s(model, weights, graphs=67, compiled=False, remote=True) < whole
    assert cold_start_s(model, weights, graphs=67, compiled=True, remote=False) < whole
