"""From `config.json` to an Architecture.

Field names follow vLLM 0.29's model classes and its ModelArchConfigConvertor.
"""

from raysvc.planner.architecture import Architecture, Attention, Experts, Latent, Layer, Mlp, State
from raysvc.planner.config import Config
from raysvc.planner.family import (
    KNOWN,
    LATENT,
    LEARNED_POSITIONS,
    PLAIN_MLP,
    STATE_ONLY,
    repeated_places,
)
from raysvc.planner.pattern import Kind, layer_kinds
from raysvc.planner.positions import context, rope_bytes

_HALF = 2
# The deepest published have some 130. Each is looked at, so that a number alone must not cost minutes.
_MOST_LAYERS = 2000


def describe(config: Config) -> Architecture:
    """Return the model's architecture. Raises Invalid where the config lacks what every decoder must say."""
    model_type = config.model_type
    hidden = config.positive("hidden_size", "n_embd", "d_model")
    count = config.positive("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    if count > _MOST_LAYERS:
        raise config.invalid(f"has {count} layers, more than any model", "num_hidden_layers")
    kinds, notes = layer_kinds(config, count)
    known = model_type in KNOWN and not notes
    if not known:
        name = model_type or config.architecture or "nameless"
        notes += (
            f"architecture {name!r} is not one this planner was checked against: estimated as a Llama-like decoder",
        )
    layers = _layers(config, kinds, hidden)
    vision = _vision(config)
    return Architecture(
        name=config.architecture or model_type,
        model_type=model_type,
        known=known,
        hidden=hidden,
        vocab=config.positive("vocab_size"),
        tied=config.flag("tie_word_embeddings", default=True),
        max_model_len=context(config),
        element_bytes=_HALF,
        layers=_share_caches(config, layers),
        rope_bytes=rope_bytes(config, layers),
        positions=context(config) if model_type in LEARNED_POSITIONS else 0,
        repeated=repeated_places(model_type),
        multimodal=vision > 0 or config.get("audio_config") is not None,
        vision_parameters=vision,
        vision_heads=_vision_heads(config),
        drafts=_drafts(config),
        notes=notes,
    )


def _drafts(config: Config) -> int:
    """Return the layers that predict further tokens: in the checkpoint, but not loaded without speculation."""
    default = 1 if config.model_type == "qwen3_next" else 0  # whose config does not say it
    return config.number("num_nextn_predict_layers", "mtp_num_hidden_layers", default=default)


def _layers(config: Config, kinds: tuple[Kind, ...], hidden: int) -> tuple[Layer, ...]:
    """Return the layers; those of one kind, routed alike, are read once."""
    letters = config.text_of("hybrid_override_pattern").ljust(len(kinds), "?")
    read: dict[tuple[Kind, str, bool], Layer] = {}
    layers = []
    for index, (kind, letter) in enumerate(zip(kinds, letters, strict=False)):
        key = (kind, letter, _routed(config, index))
        if key not in read:
            read[key] = _layer(config, key, hidden)
        layers.append(read[key])
    return tuple(layers)


def _layer(config: Config, key: tuple[Kind, str, bool], hidden: int) -> Layer:
    kind, letter, routed = key
    attention = None if kind in {Kind.STATE, Kind.FEED} else _attention(config, kind, hidden)
    state = _state(config, hidden) if kind in {Kind.STATE, Kind.BOTH} else None
    if config.model_type in STATE_ONLY:
        return Layer(state=state)
    if config.model_type == "nemotron_h":  # a layer is one thing: mixer or feed-forward
        mlp = _mlp(config, hidden) if letter == "-" else None
        return Layer(attention, state, mlp, _experts(config, hidden) if letter == "E" else None)
    experts = _experts(config, hidden) if routed else None
    return Layer(attention, state, mlp=None if experts else _mlp(config, hidden), experts=experts)


def _attention(config: Config, kind: Kind, hidden: int) -> Attention:
    heads = config.positive("num_attention_heads", "n_head", "n_heads", "num_heads")
    latent = _latent(config)
    if latent is not None:
        return Attention(heads, heads, latent.nope + latent.rope, latent.value, latent=latent)
    size = config.number("head_dim", "hidden_size_per_head", default=0) or hidden // heads
    kv_heads = _kv_heads(config, heads)
    if kind is Kind.FULL and config.number("global_head_dim", default=0):  # Gemma 4
        size = config.number("global_head_dim")
        if config.flag("attention_k_eq_v"):
            kv_heads = config.number("num_global_key_value_heads", default=kv_heads)
    return Attention(
        heads,
        kv_heads,
        size,
        config.number("v_head_dim", default=0) or size,
        window=config.positive("sliding_window", "sliding_window_size") if kind is Kind.SLIDING else None,
        chunk=config.positive("attention_chunk_size") if kind is Kind.CHUNKED else None,
        gated=config.flag("attn_output_gate", default=config.model_type.startswith(("qwen3_next", "qwen3_5"))),
        bias=config.flag("attention_bias", "qkv_bias", "use_bias", default=config.model_type in {"qwen2", "phi"}),
    )


def _kv_heads(config: Config, heads: int) -> int:
    if config.model_type == "falcon" and not config.flag("new_decoder_architecture"):
        return 1 if config.flag("multi_query", default=True) else heads
    attn = config.table("attn_config")  # MPT, DBRX
    default = attn.get("kv_n_heads") if isinstance(attn.get("kv_n_heads"), int) else heads
    names = ("num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num", "num_attention_groups")
    return config.positive(*names, default=default)


def _latent(config: Config) -> Latent | None:
    if config.get("kv_lora_rank") is None or config.model_type not in LATENT:
        return None
    return Latent(
        rank=config.positive("kv_lora_rank"),
        rope=config.positive("qk_rope_head_dim"),
        nope=config.positive("qk_nope_head_dim"),
        value=config.positive("v_head_dim"),
        query_rank=config.number("q_lora_rank", default=0),
        indexer=config.number("index_head_dim", default=0),
        indexer_heads=config.number("index_n_heads", default=0),
    )


def _state(config: Config, hidden: int) -> State:
    recurrent = 4 if config.text_of("mamba_ssm_dtype", "mamba_ssm_cache_dtype") == "float32" else _HALF
    model_type = config.model_type
    linear = config.table("linear_attn_config")
    if linear:
        heads, size = int(linear["num_heads"]), int(linear["head_dim"])
        kernel = int(linear.get("short_conv_kernel_size", 4))
        return State("kda", heads * size, size, kernel, heads, size, groups=heads, recurrent_bytes=4)
    if config.get("linear_num_value_heads") is not None:
        return State(
            "gdn",
            inner=config.positive("linear_value_head_dim") * config.positive("linear_num_value_heads"),
            state=config.positive("linear_key_head_dim"),
            kernel=config.positive("linear_conv_kernel_dim", default=4),
            heads=config.positive("linear_num_value_heads"),
            head_size=config.positive("linear_value_head_dim"),
            groups=config.positive("linear_num_key_heads"),
            recurrent_bytes=recurrent,
        )
    if config.get("conv_L_cache") is not None:
        return State("conv", config.number("conv_dim", default=hidden), 1, config.positive("conv_L_cache"))
    inner = config.number("mamba_d_ssm", default=0) or hidden * config.positive("mamba_expand", "expand", default=_HALF)
    state = config.positive("mamba_d_state", "ssm_state_size", "state_size", default=16)
    kernel = config.positive("mamba_d_conv", "conv_kernel", default=4)
    heads = config.number("mamba_n_heads", "mamba_num_heads", default=0)
    heads = heads or (config.positive("num_heads") if model_type == "mamba2" else 0)
    if not heads:
        rank = config.get("mamba_dt_rank", "time_step_rank")
        rank = rank if isinstance(rank, int) else -(-hidden // 16)
        return State("mamba1", inner, state, kernel, rank=rank, recurrent_bytes=recurrent)
    size = config.positive("mamba_d_head", "mamba_head_dim", "head_dim")
    if model_type == "nemotron_h":
        inner, recurrent = heads * size, 4 if config.get("mamba_ssm_cache_dtype") is None else recurrent
    groups = config.positive("mamba_n_groups", "n_groups", default=1)
    return State("mamba2", inner, state, kernel, heads, size, groups, recurrent_bytes=recurrent)


def _mlp(config: Config, hidden: int) -> Mlp:
    names = ("intermediate_size_mlp", "intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner", "d_ff")
    width = config.number(*names, default=0) or 4 * hidden
    if config.flag("block_auto_adjust_ff_dim") and config.model_type == "lfm2":
        multiple = config.positive("block_multiple_of", default=256)
        width = int(2 * width / 3 * float(config.get("block_ffn_dim_multiplier") or 1.0))
        width = -(-width // multiple) * multiple
    return Mlp(width, gated=config.model_type not in PLAIN_MLP)


def _experts(config: Config, hidden: int) -> Experts | None:
    count = config.number("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts", default=0)
    if count < 1:
        return None
    dense = config.positive("intermediate_size", default=4 * hidden)
    width = config.positive("moe_intermediate_size", "expert_ffn_hidden_size", default=dense)
    shared = config.number("shared_expert_intermediate_size", "shared_intermediate_size", default=0)
    shared = shared or config.number("n_shared_experts", "num_shared_experts", default=0) * width
    if config.model_type == "llama4_text":
        shared = dense
    if config.model_type == "nemotron_h":
        shared = config.number("moe_shared_expert_intermediate_size", default=0) or shared
    chosen = config.positive("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", default=1)
    plain = config.model_type in PLAIN_MLP
    return Experts(count, min(chosen, count), width, shared, gated=not plain, bias=config.model_type == "gpt_oss")


def _routed(config: Config, index: int) -> bool:
    """Say whether a layer of a mixture routes, or is dense."""
    frequency = config.get("moe_layer_freq")
    if isinstance(frequency, list):
        return bool(frequency[index]) if index < len(frequency) else False
    if config.get("first_k_dense_replace") is not None:
        step = frequency if isinstance(frequency, int) and frequency > 0 else 1
        return index >= config.number("first_k_dense_replace") and index % step == 0
    if config.get("expert_layer_period") is not None:
        return index % config.positive("expert_layer_period") == config.number("expert_layer_offset", default=0)
    if index in config.numbers("mlp_only_layers"):
        return False
    step = config.positive("decoder_sparse_step", "interleave_moe_layer_step", default=1)
    return (index + 1) % step == 0


def _share_caches(config: Config, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Mark the last `num_kv_shared_layers` (Gemma 3n, Gemma 4): they read the cache of an earlier layer."""
    shared = config.number("num_kv_shared_layers", default=0)
    if not shared:
        return layers
    first = len(layers) - shared
    return tuple(
        Layer(_uncached(layer.attention), layer.state, layer.mlp, layer.experts) if index >= first else layer
        for index, layer in enumerate(layers)
    )


def _uncached(it: Attention | None) -> Attention | None:
    if it is None:
        return None
    return Attention(it.heads, it.kv_heads, it.key_size, it.value_size, it.window, it.chunk, cached=False, bias=it.bias)


def _vision(config: Config) -> int:
    """Return an estimate of the encoders' parameters: attention and MLP of each layer, patches and projector."""
    vision = config.table("vision_config")
    width = next((vision[key] for key in ("hidden_size", "embed_dim", "width") if isinstance(vision.get(key), int)), 0)
    depth = next(
        (vision[key] for key in ("depth", "num_hidden_layers", "layers") if isinstance(vision.get(key), int)), 0
    )
    inner = vision.get("intermediate_size")
    inner = inner if isinstance(inner, int) else int(width * float(vision.get("mlp_ratio") or 4))
    gated = 3 if config.model_type.startswith(("qwen2_5_vl", "mistral3")) or "pixtral" in str(vision) else 2
    hidden = config.number("hidden_size", default=width)
    return depth * (4 * width * width + gated * width * inner) + 4 * width * hidden if width else 0


def _vision_heads(config: Config) -> int:
    vision = config.table("vision_config")
    heads = vision.get("num_attention_heads", vision.get("num_heads"))
    return heads if isinstance(heads, int) else 0
