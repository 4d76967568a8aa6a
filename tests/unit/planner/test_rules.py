"""What vLLM refuses before it allocates: each refusal names the number at fault."""

from typing import Any

import pytest

from raysvc.planner import load_catalogue
from raysvc.planner.architecture import Architecture
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.quantization import Quantization, read_quantization
from raysvc.planner.rules import expert_growth, half_precision, needs_expert_parallel, refusals
from raysvc.planner.weights import Split
from tests.unit.planner import golden
from tests.unit.planner.checkpoint import LLAMA

MIXTRAL: dict[str, Any] = {
    **LLAMA,
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "intermediate_size": 1536,
}
BLOCK_FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def read(config: dict[str, Any]) -> tuple[Architecture, Quantization]:
    it = Config("test", config)
    return describe(it), read_quantization(it)


def listed(name: str) -> tuple[Architecture, Quantization]:
    entry = load_catalogue().model(name)
    assert entry is not None
    return read(entry.config)


def refused(config: dict[str, Any], tp: int = 1, pp: int = 1, gpu: str = "H100") -> tuple[str, ...]:
    model, quantization = read(config)
    return refusals(model, quantization, load_catalogue().gpu(gpu), Split(tp, pp))


def test_what_divides_is_not_refused() -> None:
    assert [refused(LLAMA, tp) for tp in (1, 2, 4, 8)] == [(), (), (), ()]


@pytest.mark.parametrize(
    ("changes", "tp", "words"),
    [
        ({}, 3, "does not divide 8 attention heads"),
        ({"num_attention_heads": 12, "hidden_size": 96, "num_key_value_heads": 4}, 3, "neither divides 4 key/value"),
        ({"num_attention_heads": 14, "hidden_size": 112, "num_key_value_heads": 14}, 7, "the vocabulary of 1024 rows"),
        ({"intermediate_size": 130}, 4, "does not divide the MLP width 130"),
    ],
)
def test_dimensions_that_do_not_divide(changes: dict[str, Any], tp: int, words: str) -> None:
    found = refused({**LLAMA, **changes}, tp)

    assert any(f"tensor_parallel {tp}" in reason and words in reason for reason in found), found


def test_more_ranks_than_key_value_heads_are_fine_where_they_are_a_multiple() -> None:
    assert refused({**LLAMA, "num_attention_heads": 64, "hidden_size": 512}, 8) == ()


@pytest.mark.parametrize(
    ("name", "tp", "words"),
    [
        ("mamba2", 3, "state heads"),
        ("qwen3_next", 8, "linear-attention key heads"),
    ],
)
def test_states_that_do_not_divide(name: str, tp: int, words: str) -> None:
    found = refused(golden.golden()[name]["config"], tp)

    assert any(words in reason for reason in found), found


def test_a_slice_may_not_cut_a_quantization_block() -> None:
    config = {**LLAMA, "hidden_size": 512, "intermediate_size": 1408, "quantization_config": BLOCK_FP8}

    assert refused(config, 1) == ()
    assert refused(config, 2) == ("tensor_parallel 2 cuts through fp8 blocks of 128 in an MLP of width 1408",)


def test_experts_whose_blocks_would_be_cut_stay_whole() -> None:
    model, quantization = read({**MIXTRAL, "quantization_config": BLOCK_FP8})
    h100 = load_catalogue().gpu("H100")

    assert [needs_expert_parallel(model, quantization, Split(tp)) for tp in (1, 4, 8)] == [False, False, True]
    assert any("in experts of width" in it for it in refusals(model, quantization, h100, Split(8)))
    whole = refusals(model, quantization, h100, Split(8, expert_parallel=True))
    assert not any("experts" in it for it in whole)


def test_int4_groups_are_blocks_too() -> None:
    section = {"quant_method": "awq", "bits": 4, "group_size": 64}
    config = {**LLAMA, "hidden_size": 256, "quantization_config": section}

    assert refused(config, 2) == ()  # the MLP's 128 are one group a rank
    assert refused(config, 4) == ("tensor_parallel 4 cuts through awq int4 blocks of 64 in an MLP of width 128",)


@pytest.mark.parametrize(
    ("section", "gpu", "needed"),
    [
        ({"quant_method": "fp8"}, "V100", "7.5"),
        ({"quant_method": "mxfp4"}, "T4", "8.0"),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, "V100", "7.5"),
    ],
)
def test_a_gpu_that_cannot_run_a_format(section: dict[str, Any], gpu: str, needed: str) -> None:
    config = {**LLAMA, "quantization_config": section}

    assert refused(config, gpu="H100") == ()
    (reason,) = refused(config, gpu=gpu)
    assert f"needs compute capability {needed}" in reason


def test_only_gpus_of_before_ampere_lack_bfloat16() -> None:
    catalogue = load_catalogue()

    assert {gpu.name for gpu in catalogue.gpus if half_precision(gpu)} == {"T4-16", "V100-16", "V100-32"}


def test_pipelines() -> None:
    assert refused(LLAMA, pp=4) == ()
    assert refused(LLAMA, pp=5) == ("pipeline_parallel 5 exceeds 4 layers",)
    config = golden.golden()["mamba2"]["config"]
    assert "tp1 pp2" not in golden.golden()["mamba2"]["bytes"]  # vLLM itself refused
    assert refused(config, pp=2) == ("mamba2 has no pipeline parallelism in vLLM",)


@pytest.mark.parametrize(
    ("gpu", "loaded"),
    [
        # gpt-oss-120b weighs 60.9 GiB on disk; loaded, as logged in serving.md §3.7 and vllm#22340
        ("H100", 64.38),
        ("A100-80", 65.97),
    ],
)
def test_mxfp4_kernels_pad_experts(gpu: str, loaded: float) -> None:
    model, quantization = listed("openai/gpt-oss-120b")
    growth = expert_growth(model, quantization, load_catalogue().gpu(gpu), Split())
    experts = 36 * 128 * (5760 * 2880 + 2880 * 2880) * (4 + 8 / 32) / 8 / (1 << 30)

    assert 60.9 + (growth - 1) * experts == pytest.approx(loaded, abs=0.1)


def test_qwen_may_not_slide_in_some_layers_only() -> None:
    config = {**LLAMA, "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 64}

    assert refused({**config, "max_window_layers": 4}) == ()
    assert refused({**config, "max_window_layers": 2}) == (
        "qwen2 with a sliding window in some of its layers is not supported",
    )
