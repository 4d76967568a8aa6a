"""vLLM's releases as far as they change what fits: profiling runs, defaults, what counts against the budget."""

import re
from functools import cache
from typing import Any, Literal

from raysvc.domain.model import Model
from raysvc.errors import Invalid
from raysvc.planner.architecture import Architecture
from raysvc.planner.catalogue import Gpu, data_mapping

Version = tuple[int, int, int]
_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.(\d+))?")
# The V1 engine had no releases of its own before 0.8; logs that name only an engine mean these.
_ENGINES = {"v0": "0.7.3", "v1": "0.10.2"}
_V1_EVERYWHERE = (0, 11, 0)
_V1_CAPABILITY = 8.0
_LARGE_GIB = 70  # arg_utils.get_batch_defaults: `device_memory >= 70 * GiB_bytes and "a100" not in device_name`
_HUGE_GIB = 160
_LONGEST_UNCHUNKED = 32768  # V0 turned chunked prefill on above
_V0_CHUNK = 2048


class NonTorch(Model):
    """GiB that torch's allocator does not see: CUDA context, NCCL, workspaces."""

    one: float
    pcie: float
    nvlink: float
    per_doubling: float


class Release(Model):
    """What holds from `since` on; see data/engines.yaml for each field."""

    since: str
    runner: Literal["v0", "v1"]
    v2_for: Literal["none", "qwen3", "llama", "dense", "all"]
    logit_bytes: float
    scratch_sms: int
    live_hidden: int
    graphs: Literal["none", "v1", "all"]
    utilization: float
    max_num_seqs: tuple[int, int]
    batched_tokens: tuple[int, int, int]
    non_torch: NonTorch
    null_block: bool
    kv_tokens: Literal["blocks", "concurrency"]
    in_flight: int
    hybrid_cache: bool
    state_blocks: int
    source: str

    def runs_v2(self, model: Architecture) -> bool:
        """Say whether the V2 runner serves this model: dense Qwen3 first, then Llama and Mistral, dense, all."""
        dense = not model.moe and not model.hybrid
        families = {
            "none": False,
            "qwen3": dense and model.model_type == "qwen3",
            "llama": dense and model.model_type in {"qwen3", "llama", "mistral"},
            "dense": dense and not model.multimodal,
            "all": True,
        }
        return families[self.v2_for]

    def below_v1(self, gpu: Gpu) -> bool:
        """Say whether the V1 engine did not run on this GPU: until 0.11 it wanted compute capability 8.0."""
        old = parse_version(self.since) < _V1_EVERYWHERE
        return self.runner == "v1" and old and gpu.vendor == "nvidia" and gpu.capability < _V1_CAPABILITY

    def default_seqs(self, gpu: Gpu) -> int:
        return self.max_num_seqs[0 if _large(gpu) else 1]

    def default_tokens(self, gpu: Gpu, max_model_len: int) -> int:
        """Return the server's max_num_batched_tokens. V0: the whole context up to 32k, chunks of 2,048 above."""
        size = self.batched_tokens[2 if gpu.usable_gib >= _HUGE_GIB else 0 if _large(gpu) else 1]
        if size:
            return size
        return max(max_model_len, _V0_CHUNK) if max_model_len <= _LONGEST_UNCHUNKED else _V0_CHUNK


class Engine(Model):
    """A release that was asked for. `listed` False: newer than the table or older than it; the nearest row is used."""

    version: str
    release: Release
    listed: bool

    @property
    def label(self) -> str:
        return f"vllm {self.version}"

    def on(self, gpu: Gpu) -> Release:
        """Return the release's habits on this GPU: V0's, where the V1 engine did not support it yet."""
        return find_engine("v0").release if self.release.below_v1(gpu) else self.release


@cache
def find_engine(version: str | None) -> Engine:
    """Return the engine of a version such as `0.29.0`, `v0.19` or `0.8.5.post1`; None: the table's default.

    Raises Invalid for what is no version.
    """
    releases, default = _table()
    text = (version or default).strip()
    number = parse_version(_ENGINES.get(text.lower(), text))
    known = [row for row in releases if parse_version(row.since) <= number]
    newest = parse_version(default)
    listed = bool(known) and number[:2] <= newest[:2]
    return Engine(version=".".join(map(str, number)), release=known[-1] if known else releases[0], listed=listed)


@cache
def parse_version(text: str) -> Version:
    match = _VERSION.match(text)
    if match is None:
        raise Invalid(f"{text!r} is no vLLM version; write it as 0.29.0.", field="engine_version")
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch or 0)


@cache
def _table() -> tuple[tuple[Release, ...], str]:
    document = data_mapping("engines.yaml")
    rows: list[Release] = []
    before: dict[str, Any] = {}
    for row in document["releases"]:
        before = {**before, **row}
        rows.append(Release.model_validate(before))
    return tuple(rows), document["default"]


def _large(gpu: Gpu) -> bool:
    return gpu.usable_gib >= _LARGE_GIB and "A100" not in gpu.name
