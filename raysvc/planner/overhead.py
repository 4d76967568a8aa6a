"""What a GPU holds beside weights and KV cache: the profiling run's peak, CUDA graphs, and what torch does not see.

vLLM runs one batch of max_num_batched_tokens and warms the sampler with max_num_seqs rows, and takes the peak of the
two off the budget (GPUModelRunner.profile_run, memory_profiling). Which of the two is larger depends on the release:
until 0.16 the sampler sorts the whole vocabulary of each row (38 bytes an entry) and dwarfs the model.
"""

from bisect import bisect_right
from dataclasses import dataclass
from functools import cache

from raysvc.planner.architecture import Architecture, Attention, Layer, State
from raysvc.planner.catalogue import Gpu
from raysvc.planner.engine import Engine, Release
from raysvc.planner.weights import Split

GIB = 1 << 30
# MiB per captured graph and layer. 8.4 MiB a graph on Llama-3.1-8B (102 graphs, 0.84 GiB), 0.53 GiB for 86 graphs of
# gpt-oss-20b, 1.56–1.65 for 86 of Qwen3.6-27B, 0.09 for 5 of it, 0.40 for 86 of Qwen2.5-0.5B: 0.20–0.30.
_GRAPH_MIB = 0.26
_GRAPHS = 512  # vllm/config/vllm.py: default_max_graph_size
_GRAPHS_LARGE = 1024  # there, for compute capability 10.x; and gpt-oss
_STEP_FROM = 256  # capture sizes go in steps of 8 below, 16 above
# Kernels of linear attention load more code: 0.47 GiB on one RTX 3090 (Qwen3.6-27B), 1.38 on two H200 (Qwen3-Next).
_HYBRID_GIB = 0.4
# MLACommonMetadataBuilder's chunked-prefill workspace: at most 64k tokens, profiled as one up-projection of it.
_LATENT_WORKSPACE = 65536


@dataclass(frozen=True, slots=True)
class Batch:
    """What the engine is told to hold at once."""

    max_num_seqs: int
    tokens: int
    max_model_len: int
    speculative: int = 0
    eager: bool = False


@dataclass(frozen=True, slots=True)
class Overhead:
    """Bytes of one rank, for the last stage (which samples) and for those before it."""

    last: int
    before: int
    graphs: int
    non_torch: int


def overhead(
    model: Architecture, engine: Engine, gpu: Gpu, split: Split, batch: Batch, *, fast_links: bool
) -> Overhead:
    """Return the overhead of one rank."""
    release = engine.on(gpu)
    forward = _forward(model, release, split, batch)
    return Overhead(
        last=max(forward, _sampler(model, release, split, batch)),
        before=forward,
        graphs=_graphs(model, release, gpu, split, batch),
        non_torch=round((_non_torch(release, split, fast_links=fast_links) + _HYBRID_GIB * model.hybrid) * GIB),
    )


def graph_count(gpu: Gpu, model: Architecture, batch: Batch) -> int:
    """Return how many graphs are captured: PIECEWISE for every size, FULL for those a decode batch can have."""
    ceiling = _GRAPHS_LARGE if int(gpu.capability) == 10 or model.model_type == "gpt_oss" else _GRAPHS  # noqa: PLR2004
    largest = min(batch.tokens, 2 * batch.max_num_seqs * (1 + batch.speculative), ceiling)
    sizes = _capture_sizes(largest)
    return len(sizes) + bisect_right(sizes, batch.max_num_seqs)


@cache
def _capture_sizes(largest: int) -> tuple[int, ...]:
    """Return the batch sizes that are captured: 1, 2, 4, then steps of 8 below 256 and of 16 above."""
    few = [size for size in (1, 2, 4) if size <= largest]
    return (*few, *range(8, min(largest + 1, _STEP_FROM), 8), *range(_STEP_FROM, largest + 1, 16))


def _forward(model: Architecture, release: Release, split: Split, batch: Batch) -> int:
    """Return the peak of one forward pass over `tokens` tokens, in the model's dtype.

    Checked against Qwen2.5-1.5B on T4 (V0, 32k tokens: 2.02 GiB seen, 2.02), Llama-3.1-8B on L4 (V0: 0.22, 0.23),
    llava-mistral-7b on H100 (0.10.2: 1.97, 1.94 with the encoder's cache), Qwen2.5-0.5B (V2, 32k: 1.06, 1.05).
    """
    widest = max((_layer_width(layer, model.hidden, split) for layer in model.distinct), default=0)
    per_token = widest + release.live_hidden * model.hidden
    if model.multimodal:  # input embeddings and the encoder cache, as large as the batch
        per_token += 2 * model.hidden
    peak = round(batch.tokens * per_token * model.element_bytes)
    latent = next((it for it in model.attentions if it.latent is not None), None)
    return peak + (_latent_workspace(latent, split, batch) * model.element_bytes if latent is not None else 0)


def _layer_width(layer: Layer, hidden: int, split: Split) -> float:
    widths: list[float] = []
    if layer.mlp is not None:
        widths.append((3 if layer.mlp.gated else 2) * layer.mlp.width / split.tp)
    if layer.experts is not None:
        it = layer.experts
        width = it.width if split.expert_parallel else it.width / split.tp
        # fused_moe: one buffer serves the first product and the last, another the activation.
        routed = it.chosen * (max((2 if it.gated else 1) * width, hidden) + width)
        widths.append(routed + 3 * it.shared / split.tp)
    if layer.attention is not None:
        widths.append(_attention_width(layer.attention, split))
    if layer.state is not None:
        widths.append(_state_width(layer.state) / split.tp)
    return max(widths, default=0)


def _attention_width(it: Attention, split: Split) -> float:
    values = it.heads * it.value_size
    if it.latent is not None:  # queries, expanded keys and values, output
        return it.heads * (2 * it.key_size + it.latent.nope + 2 * it.value_size) / split.tp
    heads = max(1, it.kv_heads // split.tp)
    return (it.query_width * (2 if it.gated else 1) + values) / split.tp + heads * (it.key_size + it.value_size)


def _state_width(it: State) -> float:
    """Return the projections, their convolution and the gate: twice the input projection."""
    return 2 * (2 * it.inner + 2 * it.groups * it.state + it.heads)


def _latent_workspace(it: Attention, split: Split, batch: Batch) -> int:
    if it.latent is None:
        return 0
    tokens = min(max(8 * batch.max_model_len, 4 * batch.max_num_seqs * 16), _LATENT_WORKSPACE)
    return tokens * it.heads // split.tp * (it.latent.nope + it.value_size)


def _sampler(model: Architecture, release: Release, split: Split, batch: Batch) -> int:
    """Return the peak of the sampler's warm-up: max_num_seqs rows of the vocabulary, not divided by TP.

    Checked on H100 (V1 0.10, 1,024 rows): Llama-3.1-8B 4.76 GiB seen, 4.75; Qwen3-32B 5.64, 5.63; gpt-oss 7.38, 7.39.
    The V2 runner only makes the logits: its dummy requests ask for neither top-k nor top-p.
    """
    rows = min(batch.max_num_seqs, batch.tokens)
    kept = batch.tokens * model.hidden * model.element_bytes
    if release.runs_v2(model):
        logits = rows * model.vocab * model.element_bytes
        gathered = logits // split.tp if split.tp > 1 else 0
        # A drafter scores a block of all drafts and the token before them at once (DFlash; vllm#48037).
        drafts = rows * (1 + batch.speculative) * model.vocab * model.element_bytes if batch.speculative else 0
        return kept + max(logits + gathered, drafts)
    entries = rows * (1 + batch.speculative) * model.vocab
    scratch = min(rows, release.scratch_sms) * model.vocab * 4
    return kept + round(entries * release.logit_bytes) + scratch


def _graphs(model: Architecture, release: Release, gpu: Gpu, split: Split, batch: Batch) -> int:
    counted = release.graphs
    if batch.eager or counted == "none" or (counted == "v1" and release.runs_v2(model)):
        return 0
    layers = -(-len(model.layers) // split.pp)
    return round(graph_count(gpu, model, batch) * layers * _GRAPH_MIB * (1 << 20))


def _non_torch(release: Release, split: Split, *, fast_links: bool) -> float:
    it = release.non_torch
    if split.tp == 1:
        return it.one if split.pp == 1 else it.pcie
    doublings = max(0, split.tp.bit_length() - 2)
    return it.nvlink + doublings * it.per_doubling if fast_links else it.pcie
