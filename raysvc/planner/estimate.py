"""Weights worked out from the architecture, where no safetensors header can be read."""

from collections.abc import Iterator

from raysvc.planner.architecture import BESIDE, EMBED, HEAD, Architecture, Attention, Experts, Latent, Layer, Mlp, State
from raysvc.planner.quantization import Quantization, Scheme
from raysvc.planner.weights import Part, Shard, Weights, merge, scaled

# Vision towers are 16-bit in every checkpoint of the catalogue.
_ENCODER_BYTES = 2
_NORMS = 2


class _Counter:
    """Adds up parameters and the bytes a checkpoint has on disk while parts are made."""

    def __init__(self, model: Architecture, quantization: Quantization) -> None:
        self.model = model
        self.quantization = quantization
        self.parameters = 0

    def scheme(self, layer: int, module: str) -> Scheme:
        return self.quantization.of(f"model.layers.{layer}.{module}")

    def matrix(self, place: int, shard: Shard, module: str, shape: tuple[int, int, int]) -> Part:
        """Return `count` matrices of outputs × inputs, in the scheme of their module."""
        count, outputs, inputs = shape
        self.parameters += count * outputs * inputs
        scheme = self.scheme(place, module)
        if scheme.bits >= 16:  # noqa: PLR2004 not quantized
            return Part(place, shard, count * outputs * inputs * self.model.element_bytes)
        return Part(place, shard, count * scheme.linear_bytes(outputs, inputs))

    def plain(self, place: int, shard: Shard, elements: int, rows: int = 0) -> Part:
        self.parameters += elements
        return Part(place, shard, elements * self.model.element_bytes, rows)


def estimate(model: Architecture, quantization: Quantization) -> Weights:
    """Return the weights an architecture must have. Norms are counted, biases only where they weigh something."""
    counter = _Counter(model, quantization)
    parts = list(_parts(model, counter))
    derived = sum(_unpacked(counter, place, layer) for place, layer in enumerate(model.layers))
    size = sum(part.nbytes for part in parts) - derived
    return Weights(merge(parts), counter.parameters, exact=False, checkpoint_bytes=size)


def fit(model: Architecture, guess: Weights, checkpoint_bytes: int) -> Weights:
    """Return the estimate scaled to the size of the checkpoint's files.

    A checkpoint of tied embeddings may hold them twice (Qwen3-0.6B); they are loaded once. Draft layers are not loaded
    at all, and may come with embeddings and a head of their own (DeepSeek-V3: 13.5 of 684.5 billion parameters).
    Whichever reading lies nearest to the files' size is taken.
    """
    base = min(_readings(model, guess), key=lambda size: abs(checkpoint_bytes - size))
    return scaled(guess, checkpoint_bytes / base, checkpoint_bytes)


def _readings(model: Architecture, guess: Weights) -> Iterator[int]:
    """Yield what the files may hold: the model alone, with tables twice, with drafts, with the drafts' tables."""
    size = guess.checkpoint_bytes
    tables = sum(part.nbytes for part in guess.parts if part.place == EMBED)
    yield size
    if model.tied:
        yield size + tables
    if model.drafts:
        layer = sum(part.nbytes for part in guess.parts if part.place == len(model.layers) - 1)
        joined = 2 * model.hidden * model.hidden * model.element_bytes  # of the token's embedding and the last state
        drafts = model.drafts * (layer + joined)
        yield size + drafts
        yield size + drafts + 2 * model.drafts * tables


def _parts(model: Architecture, counter: _Counter) -> Iterator[Part]:
    yield counter.plain(EMBED, Shard.VOCAB, model.vocab * model.hidden, model.vocab)
    if model.positions:
        yield counter.plain(EMBED, Shard.COPY, model.positions * model.hidden)
    if not model.tied:
        yield counter.plain(HEAD, Shard.VOCAB, model.vocab * model.hidden, model.vocab)
    yield counter.plain(HEAD, Shard.COPY, model.hidden)
    yield from _layer_parts(model, counter)
    if model.vision_parameters:
        counter.parameters += model.vision_parameters
        yield Part(BESIDE, Shard.SPLIT, model.vision_parameters * _ENCODER_BYTES)


def _layer_parts(model: Architecture, counter: _Counter) -> Iterator[Part]:
    """Yield each layer's parts; layers that are alike are worked out once, unless quantization tells them apart."""
    layered = counter.quantization.layered
    known: dict[tuple[Layer, int], tuple[list[Part], int]] = {}
    for place, layer in enumerate(model.layers):
        key = (layer, place if layered else 0)
        if key in known:
            parts, parameters = known[key]
            counter.parameters += parameters
        else:
            before = counter.parameters
            parts = list(_one_layer(counter, place, layer))
            known[key] = parts, counter.parameters - before
        yield from (Part(place, part.shard, part.nbytes, part.rows) for part in parts)


def _one_layer(counter: _Counter, place: int, layer: Layer) -> Iterator[Part]:
    yield counter.plain(place, Shard.COPY, _NORMS * counter.model.hidden)
    it = layer.attention
    if it is not None:
        yield from _attention(counter, place, it) if it.latent is None else _latent(counter, place, it, it.latent)
    if layer.state is not None:
        yield from _state(counter, place, layer.state)
    if layer.mlp is not None:
        yield from _mlp(counter, place, layer.mlp)
    if layer.experts is not None:
        yield from _experts(counter, place, layer.experts)


def _attention(counter: _Counter, place: int, it: Attention) -> Iterator[Part]:
    hidden = counter.model.hidden
    queries = it.query_width * (2 if it.gated else 1)
    yield counter.matrix(place, Shard.SPLIT, "self_attn.q_proj", (1, queries, hidden))
    for module, size in (("k_proj", it.key_size), ("v_proj", it.value_size)) if it.cached else ():
        part = counter.matrix(place, Shard.HEADS, f"self_attn.{module}", (1, it.kv_heads * size, hidden))
        yield Part(place, Shard.HEADS, part.nbytes, it.kv_heads)
    yield counter.matrix(place, Shard.SPLIT, "self_attn.o_proj", (1, hidden, it.heads * it.value_size))


def _latent(counter: _Counter, place: int, it: Attention, latent: Latent) -> Iterator[Part]:
    hidden = counter.model.hidden
    queries = it.heads * (latent.nope + latent.rope)
    if latent.query_rank:
        yield counter.matrix(place, Shard.COPY, "self_attn.q_a_proj", (1, latent.query_rank, hidden))
        yield counter.matrix(place, Shard.SPLIT, "self_attn.q_b_proj", (1, queries, latent.query_rank))
    else:
        yield counter.matrix(place, Shard.SPLIT, "self_attn.q_proj", (1, queries, hidden))
    yield counter.matrix(place, Shard.COPY, "self_attn.kv_a_proj_with_mqa", (1, latent.rank + latent.rope, hidden))
    expand = it.heads * (latent.nope + latent.value)
    yield counter.matrix(place, Shard.SPLIT, "self_attn.kv_b_proj", (1, expand, latent.rank))
    unpacked = _unpacked(counter, place, Layer(it))
    if unpacked:
        yield Part(place, Shard.SPLIT, unpacked)
    yield counter.matrix(place, Shard.SPLIT, "self_attn.o_proj", (1, hidden, it.heads * latent.value))
    if latent.indexer:
        asked = latent.indexer * latent.indexer_heads
        yield counter.matrix(place, Shard.COPY, "self_attn.indexer.wq_b", (1, asked, latent.query_rank))
        # Keys and the heads' weights are one 16-bit product, whatever the checkpoint has.
        yield counter.plain(place, Shard.COPY, (latent.indexer + latent.indexer_heads) * hidden)


def _unpacked(counter: _Counter, place: int, layer: Layer) -> int:
    """Return the bytes of the 16-bit copies of W_UK and W_UV: there is no quantized batched product for them.

    MLAAttention.process_weights_after_loading; they are in no checkpoint.
    """
    it = layer.attention
    if it is None or it.latent is None or counter.scheme(place, "self_attn.kv_b_proj").bits >= 16:  # noqa: PLR2004
        return 0
    latent = it.latent
    return it.heads * (latent.nope + latent.value) * latent.rank * counter.model.element_bytes


def _state(counter: _Counter, place: int, it: State) -> Iterator[Part]:
    hidden = counter.model.hidden
    if it.kind == "conv":
        yield counter.matrix(place, Shard.SPLIT, "conv.in_proj", (3, it.inner, hidden))
        yield counter.matrix(place, Shard.SPLIT, "conv.out_proj", (1, hidden, it.inner))
        return
    if it.kind == "mamba1":
        yield counter.matrix(place, Shard.SPLIT, "mamba.in_proj", (2, it.inner, hidden))
        yield counter.plain(place, Shard.SPLIT, it.inner * (it.kernel + 2 * it.rank + 4 * it.state))
    elif it.kind == "mamba2":
        yield counter.matrix(place, Shard.SPLIT, "mamba.in_proj", (1, 2 * it.inner + it.heads, hidden))
        groups = counter.matrix(place, Shard.HEADS, "mamba.in_proj", (2, it.groups * it.state, hidden))
        yield Part(place, Shard.HEADS, groups.nbytes, it.groups)
        yield counter.plain(place, Shard.SPLIT, it.inner * (it.kernel + 1))
    elif it.kind == "kda":  # queries, keys, values and a scalar a head; decay and gate through a head's width
        yield counter.matrix(place, Shard.SPLIT, "linear_attn.in_proj", (1, 3 * it.inner + it.heads, hidden))
        yield counter.plain(place, Shard.COPY, 2 * it.head_size * hidden)
        yield counter.plain(place, Shard.SPLIT, 2 * it.inner * it.head_size + 3 * it.inner * it.kernel)
    else:  # gdn: queries, keys, values, gate and two scalars a head
        keys = it.groups * it.state
        yield counter.matrix(
            place, Shard.SPLIT, "linear_attn.in_proj", (1, 2 * keys + 2 * it.inner + 2 * it.heads, hidden)
        )
        yield counter.plain(place, Shard.SPLIT, (2 * keys + it.inner) * it.kernel)
    yield counter.matrix(place, Shard.SPLIT, "mamba.out_proj", (1, hidden, it.inner))


def _mlp(counter: _Counter, place: int, it: Mlp) -> Iterator[Part]:
    hidden = counter.model.hidden
    yield counter.matrix(place, Shard.SPLIT, "mlp.up_proj", (2 if it.gated else 1, it.width, hidden))
    yield counter.matrix(place, Shard.SPLIT, "mlp.down_proj", (1, hidden, it.width))


def _experts(counter: _Counter, place: int, it: Experts) -> Iterator[Part]:
    hidden = counter.model.hidden
    ups = 2 if it.gated else 1
    yield counter.plain(place, Shard.COPY, it.count * hidden)
    yield counter.matrix(place, Shard.EXPERT, "mlp.experts.0.up_proj", (ups * it.count, it.width, hidden))
    yield counter.matrix(place, Shard.EXPERT, "mlp.experts.0.down_proj", (it.count, hidden, it.width))
    if it.bias:
        yield counter.plain(place, Shard.SPLIT, it.count * (ups * it.width + hidden))
    if it.shared:
        yield counter.matrix(place, Shard.SPLIT, "mlp.shared_experts.up_proj", (ups, it.shared, hidden))
        yield counter.matrix(place, Shard.SPLIT, "mlp.shared_experts.down_proj", (1, hidden, it.shared))
