"""The planner as its callers see it: candidates, their order, what was chosen and why."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from raysvc.planner import Candidate, Confidence, GpuPool, Plan, PlanRequest, load_catalogue, plan
from tests.unit.planner.checkpoint import LLAMA, llama_tensors, write

ISSUE_FIELDS = {
    "fits", "gpu", "gpus", "tensor_parallel", "pipeline_parallel", "max_model_len", "max_num_seqs",
    "gpu_memory_utilization", "engine", "weights_gib_per_gpu", "activation_gib", "non_torch_gib", "kv_available_gib",
    "kv_bytes_per_token_per_gpu", "kv_tokens", "concurrency", "cold_start_s", "usd_per_hour", "usd_per_million_tokens",
    "confidence", "reasons",
}  # fmt: skip
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
TODAY = date(2026, 11, 24)


def planned(model: str = LLAMA_8B, **fields: Any) -> Plan:
    return plan(PlanRequest(model=model, today=TODAY, **fields))


def only(model: str = LLAMA_8B, **fields: Any) -> Candidate:
    (candidate,) = planned(model, **fields).candidates
    return candidate


def best(found: Plan) -> Candidate:
    assert found.best is not None
    return found.candidates[found.best]


def test_a_candidate_has_every_field_of_the_issue_and_survives_json() -> None:
    found = planned(gpu="H100", tensor_parallel=1)

    assert set(found.candidates[0].model_dump()) >= ISSUE_FIELDS
    assert Plan.model_validate_json(found.model_dump_json()) == found


def test_the_figures_of_a_candidate_add_up() -> None:
    for it in planned(LLAMA_70B).candidates:
        gpu = load_catalogue().gpu(it.gpu)
        taken = it.weights_gib_per_gpu + it.activation_gib + it.graphs_gib + it.non_torch_gib + it.kv_available_gib
        assert taken == pytest.approx(gpu.usable_gib * it.gpu_memory_utilization, abs=0.03), it.sku
        if it.fits:
            assert it.kv_needed_gib <= it.kv_available_gib, it.sku
            assert it.concurrency >= 1, it.sku


def test_a_plan_may_be_repeated_and_says_the_same() -> None:
    assert planned(LLAMA_70B, concurrency=8) == planned(LLAMA_70B, concurrency=8)


def test_the_table_covers_every_machine_and_marks_the_cheapest_token_that_meets_the_ask() -> None:
    found = planned(concurrency=16, slo_ttft_s=1.0)
    chosen = best(found)
    met = [it for it in found.candidates if it.meets]

    assert {(it.provider, it.sku) for it in found.candidates} == {
        (row.provider, row.sku) for row in load_catalogue().skus
    }
    assert chosen.fits
    assert chosen.ttft_s is not None
    assert chosen.ttft_s <= 1.0
    assert chosen.max_num_seqs * chosen.replicas >= 16
    prices = [it.usd_per_million_tokens for it in met if it.usd_per_million_tokens is not None]
    assert len(prices) == len(met)
    assert chosen.usd_per_million_tokens == min(prices)


def test_a_machine_is_paid_for_whole_and_filled_with_replicas() -> None:
    row = next(it for it in planned().candidates if it.sku == "p5.48xlarge" and it.tensor_parallel == 2)

    assert (row.gpus, row.replicas) == (8, 4)
    assert row.usd_per_hour == 55.04
    assert any("4 replicas share the 8 GPUs" in reason for reason in row.reasons)


def test_all_named_gpus_are_used_as_ranks_stages_or_replicas() -> None:
    found = planned(LLAMA_70B, gpu="H100", gpus=4).candidates

    assert {it.gpus for it in found} == {4}
    assert {(it.tensor_parallel, it.pipeline_parallel, it.replicas) for it in found if it.fits} >= {
        (4, 1, 1),
        (2, 1, 2),
        (2, 2, 1),
        (1, 4, 1),
    }


def test_a_large_model_spreads_over_machines_as_stages() -> None:
    found = planned("deepseek-ai/DeepSeek-R1").candidates
    several = [it for it in found if it.nodes > 1 and it.fits]

    assert several
    for it in several:
        assert it.pipeline_parallel == it.nodes
        assert "--distributed-executor-backend=ray" in it.flags
        assert any("pipeline stages lie on different machines" in reason for reason in it.reasons)


def test_the_flags_write_out_every_size() -> None:
    found = only(gpu="H100", tensor_parallel=2, kv_cache_dtype="fp8", enforce_eager=True, prefix_caching=False)

    assert found.flags == (
        "--tensor-parallel-size=2",
        "--pipeline-parallel-size=1",
        f"--max-model-len={found.max_model_len}",
        f"--max-num-seqs={found.max_num_seqs}",
        f"--max-num-batched-tokens={found.max_num_batched_tokens}",
        "--gpu-memory-utilization=0.92",
        "--kv-cache-dtype=fp8",
        "--enforce-eager",
        "--no-enable-prefix-caching",
    )
    assert found.graphs_gib == 0
    assert "--dtype=half" in only("Qwen/Qwen3-0.6B", gpu="T4", tensor_parallel=1).flags


def test_pools_are_priced_by_their_operator() -> None:
    metal = GpuPool(name="cellar", gpu="H100", gpus_per_node=8, nodes=2, rdma=True, usd_per_gpu_hour=1.5, as_of=TODAY)
    edge = GpuPool(name="edge", gpu="L4", fabric="none")
    found = planned(pools=(metal, edge))

    assert {it.sku for it in found.candidates} == {"cellar", "edge"}
    assert all(it.usd_per_hour == 1.5 * it.gpus for it in found.candidates if it.sku == "cellar")
    assert all(it.usd_per_hour is None for it in found.candidates if it.sku == "edge")
    assert {it.sku for it in planned(pools=(metal, edge), pool="edge").candidates} == {"edge"}


def test_a_pool_never_gets_more_than_it_has() -> None:
    small = GpuPool(name="small", gpu="H100", gpus_per_node=2, nodes=1)

    assert max(it.gpus for it in planned(LLAMA_70B, pools=(small,)).candidates) <= 2


def test_stale_prices_are_marked_and_counted() -> None:
    found = planned()
    stale = [it for it in found.candidates if it.price_stale]

    assert stale
    assert all(it.price_as_of is not None and (TODAY - it.price_as_of).days > 90 for it in stale)
    assert all(any("stale: look it up" in reason for reason in it.reasons) for it in stale)
    assert found.warnings == (f"{len(stale)} prices are older than 90 days and marked stale",)
    assert not any(it.price_stale for it in planned(usd_per_gpu_hour=2.0).candidates)


def test_an_operators_price_stands_in_for_every_other() -> None:
    assert all(it.usd_per_hour == 2.0 * it.gpus for it in planned(usd_per_gpu_hour=2.0).candidates)
    assert only(gpu="H100", tensor_parallel=2, usd_per_gpu_hour=2.0).usd_per_hour == 4.0


@pytest.mark.parametrize(("concurrency", "meets"), [(8, True), (100_000, False)])
def test_the_concurrency_that_is_asked_for_must_be_held(concurrency: int, meets: bool) -> None:
    found = planned(gpu="H100", tensor_parallel=1, concurrency=concurrency)

    assert found.candidates[0].fits
    assert found.candidates[0].meets is meets
    assert (found.best is None) is not meets


def test_a_time_to_first_token_that_no_gpu_reaches() -> None:
    found = planned(LLAMA_70B, slo_ttft_s=0.001)

    assert found.best is None
    assert "nothing that was tried meets" in found.warnings[0]


def test_confidence_follows_what_is_known(tmp_path: Path) -> None:
    folder = str(write(tmp_path, LLAMA, llama_tensors()))

    exact = only(folder, gpu="H100", tensor_parallel=1)
    assert exact.confidence is Confidence.HIGH
    assert only(folder, gpu="H100", tensor_parallel=4).confidence is Confidence.MEDIUM
    assert only(folder, gpu="B200", tensor_parallel=1).confidence is Confidence.MEDIUM  # nobody has logged its memory
    assert only(gpu="H100", tensor_parallel=1).confidence is Confidence.MEDIUM
    assert only(folder, gpu="H100", tensor_parallel=1, engine_version="0.99.0").confidence is Confidence.LOW


def test_an_unknown_architecture_is_estimated_with_low_confidence_and_said(tmp_path: Path) -> None:
    config = {**LLAMA, "architectures": ["MysteryForCausalLM"], "model_type": "mystery"}
    found = planned(str(write(tmp_path, config, llama_tensors())), gpu="H100", tensor_parallel=1)
    (it,) = found.candidates

    assert not found.model.known
    assert it.confidence is Confidence.LOW
    assert any("'mystery' is not one this planner was checked against" in reason for reason in it.reasons)


def test_weights_of_a_given_size_scale_the_estimate(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write(tmp_path, LLAMA, llama_tensors())
    (tmp_path / "model.safetensors").unlink()
    found = planned(str(path), weights_bytes=20 << 30, gpu="H100", tensor_parallel=1)

    assert found.model.weights_gib == pytest.approx(20, rel=0.02)  # the vocabulary is padded
    assert any("not read from safetensors headers" in reason for reason in found.candidates[0].reasons)


def test_fp8_while_loading_halves_16_bit_weights_and_leaves_quantized_ones(tmp_path: Path) -> None:
    folder = str(write(tmp_path, {**LLAMA, "vocab_size": 64}, llama_tensors({**LLAMA, "vocab_size": 64})))
    plain, online = (planned(folder, gpu="H100", tensor_parallel=1, quantization=it) for it in (None, "fp8"))

    assert plain.model.quantization == "none"
    assert online.model.quantization == "fp8 (while loading)"
    assert "--quantization=fp8" in online.candidates[0].flags
    eight = planned(LLAMA_8B, quantization="fp8", gpu="H100", tensor_parallel=1)
    assert eight.model.weights_gib == pytest.approx(8.5, abs=0.2)  # 16.1 GB, of which embeddings and head stay as are
