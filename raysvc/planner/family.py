"""What a config.json does not say of its model and vLLM's class for it decides: by `model_type`, as of vLLM 0.29."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from raysvc.planner.architecture import BESIDE, EMBED, HEAD
from raysvc.planner.catalogue import data_mapping

# Families checked against vLLM's own model classes and cache specs (tests/unit/planner/test_against_vllm.py), or that
# share the class of one that was. Others are estimated as Llama-like decoders, and said to be unknown.
# fmt: off
KNOWN = frozenset((
    "llama", "mistral", "ministral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next",
    "qwen3_5_text", "qwen3_5_moe_text", "phi", "phi3", "gemma", "gemma2", "gemma3_text", "gpt_oss", "deepseek_v2",
    "deepseek_v3", "deepseek_v32", "kimi_k2", "glm4", "glm4_moe", "glm_moe_dsa", "cohere", "cohere2", "falcon", "gpt2",
    "opt", "gpt_neox", "starcoder2", "olmo", "olmo2", "jamba", "nemotron_h", "granite", "granitemoe",
    "granitemoehybrid", "falcon_h1", "llama4_text", "minimax_m2", "lfm2", "mamba", "mamba2", "qwen2_vl", "qwen2_5_vl",
    "qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text",
))
# One projection up instead of gate and up.
PLAIN_MLP = frozenset((
    "gpt2", "opt", "bloom", "falcon", "gpt_neox", "gptj", "gpt_bigcode", "phi", "starcoder2", "mpt", "nemotron",
    "nemotron_h",
))
# vLLM's `is_deepseek_mla`, without the drafts.
LATENT = frozenset((
    "deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm_moe_dsa", "glm4_moe_lite", "longcat_flash",
    "kimi_linear",
))
# Positions are learned, or there are none: no rotary table.
NO_ROPE = frozenset((
    "gpt2", "opt", "bloom", "mpt", "gpt_bigcode", "jamba", "nemotron_h", "mamba", "mamba2", "falcon_mamba",
))
# fmt: on
LEARNED_POSITIONS = frozenset(("gpt2", "opt", "gpt_bigcode"))
STATE_ONLY = frozenset(("mamba", "mamba2", "falcon_mamba"))
# Routers whose weights are 32-bit.
WIDE_GATES = frozenset(("glm4_moe", "minimax_m2"))
# Classes that do not leave embeddings and head out on the pipeline stages that need neither.
_WHOLE_STAGES = frozenset(
    ("mixtral", "qwen2_moe", "qwen3_moe", "qwen3_next", "phi", "gpt_neox", "gpt_oss", "jamba", "nemotron_h")
)
_EMBEDDINGS_ON_STAGES = frozenset(("qwen3_5_text", "qwen3_5_moe_text"))


def repeated_places(model_type: str) -> frozenset[int]:
    """Return the places whose weights every pipeline stage holds."""
    if model_type in _WHOLE_STAGES:
        return frozenset({BESIDE, EMBED, HEAD})
    return frozenset({BESIDE, EMBED} if model_type in _EMBEDDINGS_ON_STAGES else {BESIDE})


def class_defaults(model_type: str) -> Mapping[str, Any]:
    """Return what transformers' config class says of fields that a config.json leaves out; empty for unknown types."""
    return _defaults().get(model_type) or {}


@cache
def _defaults() -> Mapping[str, Mapping[str, Any]]:
    return data_mapping("families.yaml")
