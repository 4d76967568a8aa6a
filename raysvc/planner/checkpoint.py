"""Weights of a checkpoint, tensor by tensor: what vLLM keeps of each, and how it divides.

Names are those that Hugging Face checkpoints carry. What a name says stands in ordered tables below; a tensor whose
name says nothing is taken as a matrix that divides.
"""

import re
from collections.abc import Iterator, Sequence

from raysvc.planner.architecture import BESIDE, EMBED, HEAD, Architecture
from raysvc.planner.family import WIDE_GATES
from raysvc.planner.quantization import FP8_ONLINE, Quantization
from raysvc.planner.safetensors import Tensor
from raysvc.planner.weights import Part, Shard, Weights, merge

_FLOATS = {"F64", "F32", "F16", "BF16"}
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.")
# Encoders and projectors beside the language model.
_BESIDE = re.compile(
    r"(^|\.)(visual|vision_tower|vision_model|vision_encoder|vision_embed_tokens|audio_tower|audio_encoder|"
    r"multi_modal_projector|mm_projector|vision_language_adapter|patch_merger|embed_vision|embed_audio|img_projection)(\.|$)"
)
# Of them, what every rank holds: vLLM divides their attention and MLP matrices only.
_BESIDE_COPIED = re.compile(
    r"patch_embed|pos_embed|position_embedding|positional_embedding|class_embedding|norm|(proj|fc2|o_proj)\.bias$"
)
# Never loaded: drafts without speculative decoding, buffers that are computed, calibration of a KV cache.
_NEVER = re.compile(
    r"(^|\.)mtp\.|rotary_emb\.(inv_freq|cos|sin)|\.attn\.(bias|masked_bias)$|\.attention\.(bias|masked_bias)$|"
    r"\.(k|v|q|kv)_scale$|\.(k|v)_proj\.output_scale$"
)
_EMBED = re.compile(r"(embed_tokens|word_embeddings|wte|embed_in|tok_embeddings|embeddings|embedding)\.weight$")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output)\.(weight|bias|qweight|scales|qzeros|weight_scale)")
_COPIED = re.compile(
    r"norm|\.ln_|(^|\.)ln_f|position_embeddings|embed_positions|\bwpe\.|"
    r"(mlp|moe|block_sparse_moe|feed_forward|mixer|layer)\.(gate|router)(\.|$)|\.gate\.(weight|bias|e_score)|e_score_correction_bias|"
    r"\.router\.|shared_expert_gate|q_a_proj|kv_a_proj|\.indexer\.|input_scale$|input_global_scale$|weight_global_scale$|weight_scale_2$"
)
_EXPERT = re.compile(r"\.experts\.")
_EXPERT_COPIED = re.compile(
    r"\.experts\.(down_proj_bias|\d+\.down_proj\.bias)$"
)  # one value per output of a row-parallel matrix
_KEY_VALUE = re.compile(r"\.(k_proj|v_proj|key|value|k|v)\.")
_FUSED = re.compile(r"\.(qkv_proj|query_key_value|c_attn|Wqkv|qkv|W_pack)\.")
# Matrices that are divided along their inputs: a bias or a scale per output is not.
_ROW = re.compile(r"\.(o_proj|down_proj|out_proj|dense|fc2|dense_4h_to_h|c_proj|w2|output_linear|wo|fc_out)\.")
# Kept in 32 bits whatever the model's dtype.
_WIDE = re.compile(r"A_log$|e_score_correction_bias$|(^|\.)expert_bias$")
_GATE = re.compile(r"\.gate\.weight$")
_STATE_NORM = re.compile(r"\.(mixer|mamba)\.norm\.weight$")
_STATE_IN = re.compile(r"\.(mixer|mamba|mamba\.mamba)\.(in_proj|conv1d)\.(weight|bias)$")


def load(
    model: Architecture, quantization: Quantization, tensors: Sequence[Tensor], *, online: bool = False
) -> Weights:
    """Return what vLLM keeps of these tensors. `online`: 16-bit matrices become FP8 while they are loaded."""
    names = {tensor.name for tensor in tensors}
    kept = [tensor for tensor in tensors if _kept(model, tensor.name)]
    parts = [part for tensor in kept for part in _parts(model, quantization, tensor, online=online)]
    if not model.tied and not any(_HEAD.search(name) for name in names):
        # No head of its own and not declared tied: vLLM's loader ties it (or the model would not start).
        parts += [Part(HEAD, part.shard, part.nbytes, part.rows) for part in parts if part.place == EMBED]
    return Weights(
        merge(parts),
        sum(_parameters(tensor) for tensor in kept),
        exact=True,
        checkpoint_bytes=sum(tensor.nbytes for tensor in tensors),
    )


def _kept(model: Architecture, name: str) -> bool:
    if _NEVER.search(name):
        return False
    if model.tied and _HEAD.search(name):
        return False  # the second copy of tied embeddings
    match = _LAYER.search(name)
    beside = _BESIDE.search(name)
    return beside is not None or match is None or int(match.group(1)) < len(model.layers)


def _parts(model: Architecture, quantization: Quantization, tensor: Tensor, *, online: bool) -> Iterator[Part]:
    name, place = tensor.name, _place(tensor.name)
    nbytes = _loaded_bytes(model, tensor)
    shard = _shard(tensor)
    if online and shard is not Shard.COPY and place >= 0 and _is_matrix(tensor) and tensor.dtype in _FLOATS:
        nbytes = tensor.elements * FP8_ONLINE.bits // 8
    if shard is Shard.VOCAB:
        yield Part(place, shard, nbytes, tensor.shape[0])
    elif place >= 0 and _FUSED.search(name) and not _EXPERT.search(name):
        yield from _fused(model, place, nbytes)
    elif shard is Shard.HEADS:
        yield Part(place, shard, nbytes, _kv_heads(model, place))
    elif place >= 0 and _STATE_IN.search(name):
        yield from _grouped(model, place, tensor, nbytes)
    else:
        yield Part(place, shard, nbytes)
    if name.endswith("kv_b_proj.weight") and quantization.quantized and tensor.dtype not in _FLOATS:
        # MLAAttention.process_weights_after_loading keeps 16-bit copies of W_UK and W_UV.
        yield Part(place, Shard.SPLIT, tensor.elements * model.element_bytes)


def _place(name: str) -> int:
    if _BESIDE.search(name):
        return BESIDE
    match = _LAYER.search(name)
    if match is not None:
        return int(match.group(1))
    if _EMBED.search(name) or re.search(r"wpe\.|embed_positions", name):
        return EMBED
    return HEAD


def _shard(tensor: Tensor) -> Shard:  # noqa: PLR0911 one return a rule
    name = tensor.name
    if _BESIDE.search(name):
        return Shard.COPY if _BESIDE_COPIED.search(name) else Shard.SPLIT
    if _place(name) < 0 and (_EMBED.search(name) or _HEAD.search(name)):
        return Shard.VOCAB
    if _STATE_NORM.search(name):
        return Shard.SPLIT
    if _COPIED.search(name) and not (_EXPERT.search(name) and not name.endswith("norm.weight")):
        return Shard.COPY
    if _EXPERT.search(name):
        return Shard.COPY if _EXPERT_COPIED.search(name) else Shard.EXPERT
    if _ROW.search(name) and not _is_matrix(tensor):
        return Shard.COPY  # one value per output of a row-parallel matrix
    if _KEY_VALUE.search(name) and _place(name) >= 0:
        return Shard.HEADS
    return Shard.SPLIT


def _is_matrix(tensor: Tensor) -> bool:
    return len([size for size in tensor.shape if size > 1]) > 1


def _loaded_bytes(model: Architecture, tensor: Tensor) -> int:
    """Return what the tensor takes once loaded: floats in the model's dtype, packed integers as they are.

    Scales per tensor, output or block are 32-bit, those of small groups in the model's dtype.
    """
    leaf = tensor.name.rpartition(".")[2]
    if _WIDE.search(tensor.name) or (model.model_type in WIDE_GATES and _GATE.search(tensor.name)):
        return tensor.elements * 4
    if tensor.dtype in _FLOATS and (leaf == "weight_scale_inv" or ("scale" in leaf and not _is_matrix(tensor))):
        return tensor.elements * 4
    if tensor.dtype in _FLOATS:
        return tensor.elements * model.element_bytes
    return tensor.nbytes


def _parameters(tensor: Tensor) -> int:
    """Return how many weights a tensor holds: 8 in an I32 of AWQ or GPTQ, 2 in a U8 of a 4-bit float."""
    leaf = tensor.name.rpartition(".")[2]
    if "scale" in leaf or leaf in {"qzeros", "g_idx", "weight_shape", "zero_point", "weight_zero_point"}:
        return 0
    if tensor.dtype == "I32" and leaf in {"qweight", "weight_packed"}:
        return tensor.elements * 8
    packed = tensor.dtype == "U8" and (leaf.endswith("blocks") or "packed" in leaf or leaf == "weight")
    return tensor.elements * (2 if packed else 1)


def _kv_heads(model: Architecture, place: int) -> int:
    attention = model.layers[place].attention
    return attention.kv_heads if attention is not None else 1


def _fused(model: Architecture, place: int, nbytes: int) -> Iterator[Part]:
    """Divide a fused query, key and value projection: queries by TP, keys and values by their heads."""
    it = model.layers[place].attention
    if it is None:
        yield Part(place, Shard.SPLIT, nbytes)
        return
    queries = it.query_width * (2 if it.gated else 1)
    both = it.kv_heads * (it.key_size + it.value_size)
    shared = nbytes * both // (queries + both)
    yield Part(place, Shard.SPLIT, nbytes - shared)
    yield Part(place, Shard.HEADS, shared, it.kv_heads)


def _grouped(model: Architecture, place: int, tensor: Tensor, nbytes: int) -> Iterator[Part]:
    """Divide Mamba-2's input projection and convolution: its groups are repeated where there are more ranks."""
    it = model.layers[place].state
    if it is None or it.kind != "mamba2":
        yield Part(place, Shard.SPLIT, nbytes)
        return
    grouped = nbytes * min(2 * it.groups * it.state, tensor.shape[0]) // tensor.shape[0]
    yield Part(place, Shard.SPLIT, nbytes - grouped)
    yield Part(place, Shard.HEADS, grouped, it.groups)
