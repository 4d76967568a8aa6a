"""Positions: the longest context a config states, and the rotary tables that vLLM keeps for it."""

from collections.abc import Mapping
from typing import Any

from raysvc.planner.architecture import Layer
from raysvc.planner.config import Config
from raysvc.planner.family import NO_ROPE

_HALF = 2
# Rotary scalings that leave the longest context as it is stated.
_UNSCALED = frozenset(("llama3", "su", "longrope", "mrope", "default", "proportional"))


def context(config: Config) -> int:
    """Return the longest context: vLLM's derive_max_model_len, with YaRN's factor where the config states one."""
    names = (
        "max_position_embeddings",
        "n_positions",
        "max_seq_len",
        "seq_length",
        "model_max_length",
        "max_sequence_length",
    )
    lengths = [length for name in names if (length := config.number(name, default=0))]
    length = min(lengths, default=2048)
    scaling = _scaling(config)
    factor = scaling.get("factor")
    kind = scaling.get("rope_type") or scaling.get("type") or ""
    if config.model_type.startswith("gemma3"):  # its length is stated after scaling
        return length
    if isinstance(factor, int | float) and kind not in _UNSCALED:
        base = scaling.get("original_max_position_embeddings") if kind in {"yarn", "deepseek_yarn"} else None
        length = max(length, int((base or length) * factor)) if base else int(length * factor)
    return length


def _scaling(config: Config) -> Mapping[str, Any]:
    """Return how rotary positions are scaled; transformers 5 writes it for each kind of layer."""
    table = config.table("rope_scaling", "rope_parameters")
    nested = table.get("full_attention")
    return nested if isinstance(nested, Mapping) else table


def rope_bytes(config: Config, layers: tuple[Layer, ...]) -> int:
    """Return vLLM's cos/sin tables: max_position × rotary size × 2 bytes, one for each distinct kind of attention.

    They are what lies between 14.96 GiB of Llama-3-8B (8,192 positions) and 14.99 of Llama-3.1-8B (131,072).
    """
    if config.model_type in NO_ROPE:
        return 0
    if config.text_of("position_embedding_type") == "nope":
        return 0
    part = config.get("partial_rotary_factor", "rotary_pct")
    part = config.table("rope_parameters").get("partial_rotary_factor") if part is None else part
    turned = float(part) if isinstance(part, int | float) and 0 < part <= 1 else 1.0
    kinds = {
        (
            it.latent.rope if it.latent else config.number("rotary_dim", default=0) or int(it.key_size * turned),
            it.window,
        )
        for layer in layers
        if (it := layer.attention) is not None
    }
    if config.get("rope_local_base_freq") is None:  # one base for all: one table whatever the window
        kinds = {(size, None) for size, _ in kinds}
    element = 4 if config.model_type == "gpt_oss" else _HALF  # its class asks for 32-bit tables
    rows = context(config)
    factor = _scaling(config).get("factor")
    scaled = config.model_type.startswith("gemma3") and isinstance(factor, int | float) and factor > 1
    # Gemma 3 scales its global layers alone, beyond the length it states (LinearScalingRotaryEmbedding).
    far = int(rows * factor) if scaled and factor is not None else rows
    return sum(size * (far if window is None else rows) for size, window in kinds) * element
