"""What a plan is asked for and what it answers: frozen, one schema for the API, the SDK and Python."""

from datetime import date
from enum import StrEnum
from typing import Literal

from pydantic import Field

from raysvc.domain.model import Model

KvDtype = Literal["auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_ds_mla", "nvfp4"]
Fabric = Literal["nvswitch", "nvlink", "pcie", "none"]


class Confidence(StrEnum):
    """How far to trust a candidate's figures.

    HIGH: weights read tensor by tensor, an architecture and an engine release checked against real starts.
    MEDIUM: weights worked out from the architecture or scaled to a given size, or a GPU nobody has measured.
    LOW: an unknown architecture, or an engine outside the table.
    """

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class GpuPool(Model):
    """GPUs somebody owns. `usd_per_gpu_hour` is the operator's own figure (bare metal: capex / 36 months + power)."""

    name: str
    gpu: str = Field(description="a kind of the GPU catalogue, or one of its aliases")
    gpus_per_node: int = Field(default=1, ge=1, le=1024)
    nodes: int = Field(default=1, ge=1, le=10_000)
    fabric: Fabric = "nvswitch"
    rdma: bool = False
    usd_per_gpu_hour: float | None = Field(default=None, ge=0)
    as_of: date | None = None


class PlanRequest(Model):
    """One question to the planner. What is left out, the planner chooses and says so."""

    model: str = Field(
        min_length=1, max_length=2048, description="directory, config.json, catalogue name, or hf:// https:// s3://"
    )
    gpu: str | None = None
    gpus: int | None = Field(default=None, ge=1, le=10_000)
    pool: str | None = None
    pools: tuple[GpuPool, ...] = Field(
        default=(), max_length=1000, description="what `pool` may name; without gpu and pool: all of them"
    )
    tensor_parallel: int | None = Field(default=None, ge=1, le=1024)
    pipeline_parallel: int | None = Field(default=None, ge=1, le=1024)
    expert_parallel: bool | None = None
    max_model_len: int | None = Field(default=None, ge=1, le=100_000_000)
    max_num_seqs: int | None = Field(default=None, ge=1, le=100_000)
    max_num_batched_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    kv_cache_dtype: KvDtype = "auto"
    block_size: int = Field(default=16, ge=1, le=4096)
    prefix_caching: bool = True
    enforce_eager: bool = False
    quantization: Literal["fp8"] | None = Field(default=None, description="quantize 16-bit weights while loading")
    engine_version: str | None = Field(default=None, description="vLLM release; None: the newest of the table")
    weights_bytes: int | None = Field(default=None, ge=1, description="size of the safetensors files, where unseen")
    usable_gib: float | None = Field(default=None, gt=0, description="the device's memory as torch reports it")
    usd_per_gpu_hour: float | None = Field(default=None, ge=0)
    concurrency: int | None = Field(default=None, ge=1, description="sequences at once that are asked for")
    slo_ttft_s: float | None = Field(default=None, gt=0)
    prompt_tokens: int = Field(default=1024, ge=1)
    output_tokens: int = Field(default=256, ge=1)
    speculative_tokens: int = Field(default=0, ge=0, le=64)
    draft_weights_bytes: int = Field(default=0, ge=0)
    today: date | None = Field(default=None, description="prices older than 90 days then count as stale")


class Candidate(Model):
    """One way to run the model: `gpus` cards, of which each replica takes tensor_parallel × pipeline_parallel.

    Memory figures are GiB of the fullest GPU. All of them are estimates; what was measured never stands here.
    """

    fits: bool
    gpu: str
    gpus: int
    tensor_parallel: int
    pipeline_parallel: int
    max_model_len: int
    max_num_seqs: int
    gpu_memory_utilization: float
    engine: str
    weights_gib_per_gpu: float
    activation_gib: float
    non_torch_gib: float
    kv_available_gib: float
    kv_bytes_per_token_per_gpu: int = Field(description="what one further token of a long sequence takes")
    kv_tokens: int = Field(description="as vLLM's `GPU KV cache size` counts in that release")
    concurrency: float = Field(description="sequences of max_model_len that the KV cache holds at once")
    cold_start_s: float
    usd_per_hour: float | None
    usd_per_million_tokens: float | None = Field(description="per million generated tokens, prompts included")
    confidence: Confidence
    reasons: tuple[str, ...]
    flags: tuple[str, ...] = ()
    provider: str | None = None
    sku: str | None = None
    quantization: str = Field(default="", description="of the weights as they are loaded")
    replicas: int = 1
    nodes: int = 1
    max_num_batched_tokens: int = 0
    graphs_gib: float = Field(default=0, description="CUDA graphs, where this release takes them off the KV budget")
    kv_needed_gib: float = Field(default=0, description="one request of max_model_len")
    tokens_per_second: float | None = Field(default=None, description="generated, all replicas; estimated")
    ttft_s: float | None = Field(default=None, description="to the first token of one prompt; estimated")
    meets: bool = Field(default=False, description="fits, and the concurrency and TTFT asked for")
    nearest_change: str | None = Field(default=None, description="the smallest change found that makes it fit")
    price_as_of: date | None = None
    price_stale: bool = False


class ModelSummary(Model):
    """The model as the planner read it."""

    name: str
    architecture: str
    known: bool
    layers: int
    parameters: int = Field(description="in the checkpoint's own terms: a packed 4-bit pair counts as two")
    weights_gib: float = Field(description="loaded on one GPU")
    quantization: str
    max_model_len: int
    license: str | None = None
    notes: tuple[str, ...] = ()


class Plan(Model):
    """The ways to run a model, the one to take first. `best` indexes `candidates`; None: none meets the ask."""

    model: ModelSummary
    engine: str
    candidates: tuple[Candidate, ...]
    best: int | None
    warnings: tuple[str, ...] = ()
    catalogue_as_of: date
