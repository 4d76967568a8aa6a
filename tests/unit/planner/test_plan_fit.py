"""What fits and what does not: by how much, what is cut, and the nearest change."""

from typing import Any

import pytest

from raysvc.planner import Candidate, Plan, PlanRequest, plan

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_70B = "meta-llama/Llama-3.3-70B-Instruct"
QWEN_32B = "Qwen/Qwen3-32B"


def planned(model: str = LLAMA_8B, **fields: Any) -> Plan:
    return plan(PlanRequest(model=model, **fields))


def only(model: str = LLAMA_8B, **fields: Any) -> Candidate:
    (candidate,) = planned(model, **fields).candidates
    return candidate


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    found = only(LLAMA_70B, gpu="H100", tensor_parallel=1, max_model_len=8192)

    assert not found.fits
    assert not found.meets
    assert found.usd_per_million_tokens is None
    assert any("GiB short before any KV cache" in reason for reason in found.reasons)
    assert found.nearest_change == "tensor_parallel 2 (2 × H100-80) fits"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_model_len": 40_960}, "--max-model-len"),
        ({"max_model_len": 4096, "engine_version": "0.10.2"}, "--max-num-seqs"),
        ({"max_model_len": 4096, "gpu_memory_utilization": 0.82, "max_num_seqs": 8}, "--gpu-memory-utilization 0.95"),
    ],
)
def test_the_nearest_change_makes_it_fit(fields: dict[str, Any], expected: str) -> None:
    before = only(QWEN_32B, gpu="H100", tensor_parallel=1, usable_gib=74.5, **fields)
    assert not before.fits
    assert before.nearest_change is not None
    assert before.nearest_change.startswith(expected)

    flag, value = before.nearest_change.split()[:2]
    name = flag.removeprefix("--").replace("-", "_")
    changed = {**fields, name: float(value) if "." in value else int(value)}
    assert only(QWEN_32B, gpu="H100", tensor_parallel=1, usable_gib=74.5, **changed).fits


def test_fp8_weights_are_proposed_where_they_fit_and_the_gpu_has_them() -> None:
    ask = {"tensor_parallel": 1, "max_model_len": 8192, "gpu": "L40S"}
    before = only(QWEN_32B, **ask)

    assert before.nearest_change == "--quantization fp8 (half the weights) fits"
    assert only(QWEN_32B, quantization="fp8", **ask).fits
    volta = only(QWEN_32B, **{**ask, "gpu": "V100-32"})
    assert volta.nearest_change is not None
    assert "fp8" not in volta.nearest_change


def test_nothing_at_all_may_fit() -> None:
    found = planned("deepseek-ai/DeepSeek-R1", gpu="T4", gpus=1, tensor_parallel=1)

    assert found.best is None
    assert not found.candidates[0].fits
    assert found.warnings[0] == "nothing that was tried fits; each candidate names the nearest change, if one was found"


def test_an_open_context_is_cut_to_what_fits_and_said() -> None:
    found = only(gpu="A10G", tensor_parallel=1)

    assert found.fits
    assert found.max_model_len < 131_072
    assert found.max_model_len % 16 == 0
    assert any(f"cut from 131,072 to {found.max_model_len:,}" in reason for reason in found.reasons)
    assert only(gpu="A10G", tensor_parallel=1, max_model_len=found.max_model_len).fits
    assert not only(gpu="A10G", tensor_parallel=1, max_model_len=found.max_model_len + 64).fits


def test_a_context_too_short_to_be_of_use_is_not_proposed() -> None:
    found = only(gpu="A10G", tensor_parallel=1)

    assert found.max_model_len < 32_768
    assert found.fits
    assert not found.meets
    assert only(gpu="A10G", tensor_parallel=1, max_model_len=8192).meets


def test_a_context_that_was_named_is_never_cut() -> None:
    found = only(gpu="A10G", tensor_parallel=1, max_model_len=131_072)

    assert not found.fits
    assert found.max_model_len == 131_072
    assert found.nearest_change is not None
    assert found.nearest_change.startswith("--max-model-len")


def test_a_context_beyond_the_models_is_refused() -> None:
    found = only("microsoft/phi-4", gpu="H100", tensor_parallel=1, max_model_len=100_000)

    assert not found.fits
    assert any("beyond the model's 16,384 positions" in reason for reason in found.reasons)
    assert found.nearest_change == "--max-model-len 16384, the model's longest, fits"


def test_sequences_are_lowered_where_the_split_was_left_open() -> None:
    found = planned(QWEN_32B, gpu="H100", gpus=1, engine_version="0.10.2", usable_gib=74.5, max_model_len=8192)
    (it,) = found.candidates

    assert it.fits
    assert it.max_num_seqs < 1024
    assert any(f"max_num_seqs lowered from 1024 to {it.max_num_seqs}" in reason for reason in it.reasons)


def test_tensor_parallelism_that_does_not_divide_is_refused_by_name() -> None:
    found = only(gpu="H100", tensor_parallel=3)

    assert not found.fits
    assert any("tensor_parallel 3 does not divide 32 attention heads" in reason for reason in found.reasons)
    assert found.nearest_change == "tensor_parallel 4 (4 × H100-80) fits"
