"""Which kind each layer is: the patterns that configs write, in the order in which vLLM's model classes read them."""

from enum import StrEnum

from raysvc.planner.config import Config
from raysvc.planner.family import STATE_ONLY

_WORDS = {
    "full_attention": "full",
    "attention": "full",
    "global_attention": "full",
    "full": "full",
    "sliding_attention": "sliding",
    "sliding_window": "sliding",
    "local_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "state",
    "mamba": "state",
    "mamba2": "state",
    "conv": "state",
    "recurrent": "state",
    "kda": "state",
    "mlp": "feed",
    "moe": "feed",
}
# NemotronH's letters.
_LETTERS = {"M": "state", "*": "full", "-": "feed", "E": "feed"}
# Every second layer slides, beginning with the first: configs from before `layer_types` was written.
_ALTERNATING = {"gemma2", "gpt_oss"}
# What slides only where `use_sliding_window` says so; below `max_window_layers` it does not.
_SWITCHED = {"qwen2", "qwen3", "qwen2_moe", "qwen3_moe"}


class Kind(StrEnum):
    """What a layer mixes tokens with. FEED: nothing, a feed-forward block of its own; BOTH: attention and state."""

    FULL = "full"
    SLIDING = "sliding"
    CHUNKED = "chunked"
    STATE = "state"
    FEED = "feed"
    BOTH = "both"


def layer_kinds(config: Config, count: int) -> tuple[tuple[Kind, ...], tuple[str, ...]]:
    """Return each layer's kind, and notes on what was not understood (those layers count as full attention)."""
    words = config.strings("layer_types", "layers_block_type")
    if words:
        return _from_words(config, words, count)
    letters = config.text_of("hybrid_override_pattern")
    if letters:
        return tuple(Kind(_LETTERS.get(letter, "full")) for letter in letters[:count]), ()
    return _from_rules(config, count), ()


def _from_words(config: Config, words: tuple[str, ...], count: int) -> tuple[tuple[Kind, ...], tuple[str, ...]]:
    if len(words) < count:
        raise config.invalid(f"names {len(words)} layer_types for {count} layers", "layer_types")
    unknown = sorted(set(words) - _WORDS.keys())
    notes = tuple(f"layer type {word!r} is unknown; counted as full attention" for word in unknown)
    kinds = tuple(Kind(_WORDS.get(word, "full")) for word in words[:count])
    if config.model_type in _SWITCHED and not config.flag("use_sliding_window"):
        kinds = tuple(Kind.FULL if kind is Kind.SLIDING else kind for kind in kinds)
    return kinds, notes


def _from_rules(config: Config, count: int) -> tuple[Kind, ...]:  # noqa: PLR0911 one return a pattern
    model_type = config.model_type
    if model_type in STATE_ONLY:
        return (Kind.STATE,) * count
    if model_type == "falcon_h1":
        return (Kind.BOTH,) * count
    linear = config.table("linear_attn_config")
    if linear:  # Kimi-Linear counts its layers from 1
        full = set(linear.get("full_attn_layers") or ())
        return tuple(Kind.FULL if i + 1 in full else Kind.STATE for i in range(count))
    interval = config.number("full_attention_interval", default=0)
    if interval:
        return tuple(Kind.STATE if (i + 1) % interval else Kind.FULL for i in range(count))
    period = config.number("attn_layer_period", default=0)
    if period:
        offset = config.number("attn_layer_offset", default=0)
        return tuple(Kind.FULL if i % period == offset else Kind.STATE for i in range(count))
    indices = config.numbers("attn_layer_indices")
    if indices:
        return tuple(Kind.FULL if i in indices else Kind.STATE for i in range(count))
    if model_type in {"llama4", "llama4_text"}:
        return _llama4(config, count)
    return _sliding(config, count)


def _llama4(config: Config, count: int) -> tuple[Kind, ...]:
    """Layers with rotary positions attend in chunks, those without (every 4th) to everything."""
    no_rope = config.numbers("no_rope_layers")
    interval = config.positive("no_rope_layer_interval", default=4)
    rotary = [bool(no_rope[i]) if i < len(no_rope) else (i + 1) % interval != 0 for i in range(count)]
    return tuple(Kind.CHUNKED if turns else Kind.FULL for turns in rotary)


def _sliding(config: Config, count: int) -> tuple[Kind, ...]:
    if not config.number("sliding_window", default=0):
        return (Kind.FULL,) * count
    model_type = config.model_type
    if model_type in _SWITCHED:
        first = config.number("max_window_layers", default=0) if config.flag("use_sliding_window") else count
        return tuple(Kind.SLIDING if i >= first else Kind.FULL for i in range(count))
    every = config.get("sliding_window_pattern")
    if isinstance(every, int) and every > 1:
        return tuple(Kind.SLIDING if (i + 1) % every else Kind.FULL for i in range(count))
    if model_type in _ALTERNATING:
        return tuple(Kind.FULL if i % 2 else Kind.SLIDING for i in range(count))
    if config.get("use_sliding_window") is False:
        return (Kind.FULL,) * count
    return (Kind.SLIDING,) * count
