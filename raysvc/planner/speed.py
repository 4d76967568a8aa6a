"""How fast, from first principles: a step reads weights and cache, a prompt is computed, a start loads and compiles.

Estimates, to rank hardware and to price a token before anything runs; never to be shown as measured. The efficiencies
are what vLLM reaches in public benchmarks (AI Runway and aiconfigurator use 0.75–0.8 of the memory bandwidth).
"""

from dataclasses import dataclass

from raysvc.planner.architecture import Architecture
from raysvc.planner.catalogue import Gpu
from raysvc.planner.weights import Split, Weights

_READ = 0.75
_COMPUTE = 0.55
_STEP_S = 0.0015  # scheduling and sampling, whatever the model
_EAGER_LAYER_S = 60e-6  # launching a layer's kernels without a CUDA graph
_LINK_S = {True: 15e-6, False: 40e-6}  # one all-reduce: NVLink, PCIe
_PCIE_GB_S = 25.0
_PIPELINE = 0.8  # bubbles
_FIRST_TOKEN_S = 0.02
_PACKED_BITS = 12  # fewer on average: the products run on 8-bit units where there are any
_FP8_CAPABILITY = 8.9

# Seconds and GB/s of a start. Llama-3.1-8B on L40S, vLLM 0.9: 94 s imports and initialisation, 61 s download, 33 s
# weights, 52 s compile, 54 s graphs; 82 s in all with caches (tensorfuse.io, 2025-09-01). H100 logs of 2026 load
# 1.5 GB/s and capture 5–10 graphs a second.
_INIT_S = 60.0
_DOWNLOAD_GB_S = 0.3
_LOAD_GB_S = 1.0
_DYNAMO_S = 10.0
_COMPILE_LAYER_S = 1.3
_GRAPH_LAYER_S = 0.012


@dataclass(frozen=True, slots=True)
class Site:
    """Where a replica runs. `token_bytes`: one token's cache on one rank; `eager`: without CUDA graphs."""

    gpu: Gpu
    split: Split
    token_bytes: int
    fast_links: bool
    eager: bool


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a replica: sequences at once, each a prompt and an answer."""

    sequences: int
    prompt: int
    output: int


@dataclass(frozen=True, slots=True)
class Speed:
    """Generated tokens per second of a replica with `sequences` at once, and the wait for a prompt's first token."""

    tokens_per_second: float
    ttft_s: float
    sequences: int


def estimate_speed(model: Architecture, weights: Weights, site: Site, load: Load) -> Speed:
    """Return a roofline estimate of one replica."""
    gpu, split = site.gpu, site.split
    ranks = split.tp * split.pp
    dense, routed = weights.dense_bytes, weights.routed_bytes
    active = dense + routed * _share(model, 1)
    bits = 8 * (dense + routed) / max(1, weights.parameters)
    eight = bits < _PACKED_BITS and gpu.capability >= _FP8_CAPABILITY
    flops = (gpu.tflops_8bit if eight else gpu.tflops) * 1e12 * _COMPUTE * ranks
    parameters = active * 8 / max(bits, 1)
    context = load.prompt + load.output // 2
    read = (dense + routed * _share(model, load.sequences)) / ranks + load.sequences * context * site.token_bytes
    links = len(model.layers) * 2 * _link_s(model, gpu, split, load.sequences, fast_links=site.fast_links)
    fixed = _STEP_S + (len(model.layers) * _EAGER_LAYER_S if site.eager else 0)
    compute = 2 * parameters * load.sequences / flops
    step = max(read / (gpu.hbm_gb_s * 1e9 * _READ), compute) + links + fixed
    step /= _PIPELINE if split.pp > 1 else 1.0
    prefill = 2 * parameters * load.prompt / flops
    per_request = prefill + load.output * step / load.sequences
    ttft = prefill * split.pp + step + _FIRST_TOKEN_S
    return Speed(load.output / per_request, ttft, load.sequences)


def cold_start_s(model: Architecture, weights: Weights, *, graphs: int, compiled: bool, remote: bool) -> float:
    """Return the seconds from process start to the first answer: a first start, with no cache of compiled code.

    `remote` adds the download; a node that must be provisioned adds minutes of its own.
    """
    size = weights.checkpoint_bytes / 1e9
    layers = len(model.layers)
    total = _INIT_S + size / _LOAD_GB_S + graphs * layers * _GRAPH_LAYER_S
    total += _DYNAMO_S + layers * _COMPILE_LAYER_S if compiled else 0
    return total + (size / _DOWNLOAD_GB_S if remote else 0)


def _share(model: Architecture, sequences: int) -> float:
    """Return the share of all experts that a batch touches, if they are chosen evenly."""
    experts = next((layer.experts for layer in model.distinct if layer.experts is not None), None)
    return 1 - (1 - experts.chosen / experts.count) ** sequences if experts is not None else 0.0


def _link_s(model: Architecture, gpu: Gpu, split: Split, sequences: int, *, fast_links: bool) -> float:
    if split.tp == 1:
        return 0.0
    gb_s = gpu.nvlink_gb_s if fast_links and gpu.nvlink_gb_s else _PCIE_GB_S
    moved = 2 * (split.tp - 1) / split.tp * sequences * model.hidden * model.element_bytes
    return _LINK_S[fast_links] + moved / (gb_s * 1e9)
