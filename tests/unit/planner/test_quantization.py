"""Quantized checkpoints: what a weight takes, what is spared, and what the least GPU is."""

from typing import Any

import pytest

from raysvc.errors import Invalid
from raysvc.planner.checkpoint import load
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.quantization import Quantization, read_quantization
from raysvc.planner.safetensors import Tensor
from raysvc.planner.weights import Split
from tests.unit.planner.checkpoint import LLAMA, llama_tensors

BITS16 = 2 * 4096 * 4096


def quantized(**section: Any) -> Quantization:
    return read_quantization(Config("test", {**LLAMA, "quantization_config": section}))


def compressed(**weights: Any) -> dict[str, Any]:
    form = weights.pop("format", "float-quantized")
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "ignore": ["lm_head", "re:.*\\.mlp\\.gate$"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


@pytest.mark.parametrize(
    ("section", "label", "ratio"),
    [
        ({"quant_method": "fp8"}, "fp8", 0.5),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 0.5 + 2 / 128 / 128),
        (compressed(num_bits=8, type="float", strategy="channel"), "fp8", 0.5 + 2 / 4096),
        (compressed(num_bits=8, type="int", strategy="channel"), "int8", 0.5 + 2 / 4096),
        (compressed(num_bits=4, type="int", strategy="group", group_size=128), "int4", 0.25 + 1 / 128),
        (compressed(num_bits=4, type="float", group_size=16, format="nvfp4-pack-quantized"), "nvfp4", 0.25 + 1 / 32),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq int4", 0.25 + (2 + 0.5) / 2 / 128),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq int4", 0.25 + (2 + 0.5) / 2 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq int8", 0.5 + (2 + 1) / 2 / 4096),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4"}}, "nvfp4", 0.25 + 1 / 32),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}, "fp8", 0.5),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes int4", 0.25 + 1 / 128),
    ],
)
def test_bytes_of_a_linear_layer(section: dict[str, Any], label: str, ratio: float) -> None:
    quantization = quantized(**section)
    scheme = quantization.of("model.layers.0.mlp.down_proj")

    assert quantization.label == label
    assert scheme.linear_bytes(4096, 4096) / BITS16 == pytest.approx(ratio, rel=2e-3)
    assert quantization.of("lm_head").bits == 16


def test_mxfp4_is_for_experts_alone() -> None:
    quantization = quantized(quant_method="mxfp4")

    assert quantization.of("model.layers.0.self_attn.q_proj").bits == 16
    assert quantization.of("model.layers.0.mlp.experts.0.up_proj").linear_bytes(4096, 4096) == 4096 * 4096 * 17 // 32


@pytest.mark.parametrize(
    ("pattern", "spared"),
    [
        ("model.layers.0", True),
        ("model.layers.1", False),
        ("model.layers.*.self_attn", True),
        ("re:.*self_attn.*", True),
        ("re:.*mlp.*", False),
        ("self_attn", True),
        ("re:[", False),
    ],
)
def test_modules_that_are_spared(pattern: str, spared: bool) -> None:
    quantization = quantized(quant_method="fp8", modules_to_not_convert=[pattern])

    assert (quantization.of("model.layers.0.self_attn.q_proj").bits == 16) is spared


def test_a_second_group_has_a_scheme_of_its_own() -> None:
    section = compressed(num_bits=4, type="int", strategy="group", group_size=128)
    section["config_groups"]["group_1"] = {
        "targets": ["re:.*down_proj"],
        "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
    }
    quantization = quantized(**section)

    assert quantization.of("model.layers.0.mlp.up_proj").bits == 4
    assert quantization.of("model.layers.0.mlp.down_proj").bits == 8


@pytest.mark.parametrize(
    "section",
    [
        {"quant_method": "telepathy"},
        {"quant_method": "awq", "bits": "four"},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "modelopt", "quantization": {"quant_algo": "W9A9"}},
    ],
)
def test_a_method_nobody_can_size_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        quantized(**section)


def test_float32_checkpoints_are_loaded_in_16_bits() -> None:
    model = describe(Config("test", {**LLAMA, "torch_dtype": "float32"}))

    wide = load(model, Quantization(), llama_tensors(dtype="F32"))
    narrow = load(model, Quantization(), llama_tensors(dtype="BF16"))

    assert wide.stages(model, Split()) == narrow.stages(model, Split())
    assert wide.checkpoint_bytes == 2 * narrow.checkpoint_bytes


def test_awq_headers_count_packed_weights_scales_and_zeros() -> None:
    section = {"quant_method": "awq", "bits": 4, "group_size": 64}
    model = describe(Config("test", {**LLAMA, "quantization_config": section}))
    name = "model.layers.0.mlp.down_proj"
    tensors = [
        Tensor(f"{name}.qweight", "I32", (128, 8)),
        Tensor(f"{name}.qzeros", "I32", (2, 8)),
        Tensor(f"{name}.scales", "F16", (2, 64)),
    ]

    weights = load(model, quantized(**section), tensors)

    assert weights.parameters == 128 * 64
    assert weights.stages(model, Split())[0] == 128 * 8 * 4 + 2 * 8 * 4 + 2 * 64 * 2
    assert weights.stages(model, Split(2))[0] == weights.stages(model, Split())[0] // 2


def test_a_quantized_latent_keeps_16_bit_copies_of_its_up_projection() -> None:
    config = {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 8, "vocab_size": 64, "intermediate_size": 128,
        "kv_lora_rank": 32, "q_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16,
        "tie_word_embeddings": True,
    }  # fmt: skip
    model = describe(Config("test", config))
    name = "model.layers.0.self_attn.kv_b_proj"
    elements = 8 * (16 + 16) * 32
    eight = [Tensor(f"{name}.weight", "F8_E4M3", (256, 32)), Tensor(f"{name}.weight_scale_inv", "F32", (2, 1))]

    quantized_bytes = load(model, quantized(quant_method="fp8", weight_block_size=[128, 128]), eight)
    plain_bytes = load(model, Quantization(), [Tensor(f"{name}.weight", "BF16", (256, 32))])

    assert quantized_bytes.stages(model, Split())[0] == elements + 8 + 2 * elements
    assert plain_bytes.stages(model, Split())[0] == 2 * elements
