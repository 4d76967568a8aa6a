"""What torch's caching allocator adds to large tensors: the difference between a model's bytes and `memory_allocated`.

c10/cuda/CUDACachingAllocator.h: an allocation of 10 MiB or more gets a segment of its own, rounded up to 2 MiB; what is
left of it becomes a free block only if it is more than 1 MiB, and counts as allocated otherwise. That is why vLLM logs
14.25 GiB for the 14.19 of Qwen2.5-7B (2 MiB a layer), and 13.95 for 13.79 of Qwen2.5-14B on one of two ranks.
"""

from collections.abc import Iterator

from raysvc.planner.architecture import Architecture, Attention, Layer, State, stage_layers
from raysvc.planner.quantization import Quantization
from raysvc.planner.weights import VOCAB_PADDING, Split

_MIB = 1 << 20
_OWN_SEGMENT = 10 * _MIB
_ROUND = 2 * _MIB
_SPLIT_ABOVE = 1 * _MIB

# A matrix as vLLM holds it, fused with those beside it: module, weights on one rank.
Matrix = tuple[str, int]


def slack(nbytes: int) -> int:
    """Return the bytes that an allocation of this size wastes."""
    left = -nbytes % _ROUND
    return left if nbytes >= _OWN_SEGMENT and left <= _SPLIT_ABOVE else 0


def stage_slack(model: Architecture, quantization: Quantization, split: Split) -> tuple[int, ...]:
    """Return what the large matrices of one rank of each pipeline stage waste."""
    per_layer = {layer: _layer_slack(model, quantization, layer, split) for layer in model.distinct}
    totals = [
        sum(per_layer[model.layers[index]] for index in layers) for layers in stage_layers(len(model.layers), split.pp)
    ]
    rows = -(-model.vocab // VOCAB_PADDING) * VOCAB_PADDING // split.tp
    table = slack(rows * model.hidden * model.element_bytes)
    totals[0] += table
    if not model.tied or split.pp > 1:
        totals[-1] += table
    return tuple(totals)


def _layer_slack(model: Architecture, quantization: Quantization, layer: Layer, split: Split) -> int:
    place = model.layers.index(layer)
    total = 0
    for module, weights in _matrices(layer, model.hidden, split):
        bits = min(quantization.of(f"model.layers.{place}.{module}").bits, 8 * model.element_bytes)
        total += slack(weights * bits // 8)
    return total


def _matrices(layer: Layer, hidden: int, split: Split) -> Iterator[Matrix]:
    tp = split.tp
    if layer.attention is not None:
        yield from _attention(layer.attention, hidden, tp)
    if layer.state is not None:
        yield from _state(layer.state, hidden, tp)
    if layer.mlp is not None:
        yield "mlp.up_proj", (2 if layer.mlp.gated else 1) * layer.mlp.width // tp * hidden
        yield "mlp.down_proj", layer.mlp.width // tp * hidden
    it = layer.experts
    if it is not None:
        yield "mlp.experts.0.up_proj", it.count * (2 if it.gated else 1) * it.width * hidden // tp
        yield "mlp.experts.0.down_proj", it.count * it.width * hidden // tp
        yield "mlp.shared_experts.up_proj", (2 if it.gated else 1) * it.shared // tp * hidden
        yield "mlp.shared_experts.down_proj", it.shared // tp * hidden


def _attention(it: Attention, hidden: int, tp: int) -> Iterator[Matrix]:
    yield "self_attn.o_proj", it.heads * it.value_size // tp * hidden
    latent = it.latent
    if latent is None:
        queries = it.query_width * (2 if it.gated else 1) // tp
        both = max(1, it.kv_heads // tp) * (it.key_size + it.value_size) if it.cached else 0
        yield "self_attn.q_proj", (queries + both) * hidden
        return
    yield "self_attn.kv_b_proj", it.heads * (latent.nope + latent.value) // tp * latent.rank
    yield "self_attn.q_b_proj", it.heads * (latent.nope + latent.rope) // tp * (latent.query_rank or hidden)
    yield "self_attn.q_a_proj", (latent.query_rank + latent.rank + latent.rope) * hidden


def _state(it: State, hidden: int, tp: int) -> Iterator[Matrix]:
    if it.kind in {"gdn", "mamba2"}:
        keys = it.groups * it.state
        yield "linear_attn.in_proj", (2 * keys + 2 * it.inner) // tp * hidden
    yield "mamba.out_proj", it.inner // tp * hidden
