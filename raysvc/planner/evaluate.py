"""One way to run a model, worked out: what each GPU holds, what is left for the KV cache, whether that is enough."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from raysvc.domain.plan import Confidence, PlanRequest
from raysvc.planner.allocator import stage_slack
from raysvc.planner.architecture import Architecture
from raysvc.planner.catalogue import Gpu
from raysvc.planner.engine import Engine
from raysvc.planner.estimate import estimate
from raysvc.planner.kv import Cache, CacheRules, Pool, build_cache, fill, longest
from raysvc.planner.overhead import GIB, Batch, Overhead, graph_count, overhead
from raysvc.planner.quantization import FP8_ONLINE, Quantization
from raysvc.planner.rules import expert_growth, needs_expert_parallel, refusals
from raysvc.planner.target import Target
from raysvc.planner.weights import Split, Weights

# A fit by less than the estimate's own error is not promised: GiB per GPU that must be left over. The mean errors over
# the observed starts are 0.1 GiB with one GPU and known flags, 0.3 over all (tests/unit/planner/test_observed.py).
_MARGIN_GIB = {Confidence.HIGH: 0.2, Confidence.MEDIUM: 0.35, Confidence.LOW: 1.0}
# More than two ranks, drafters: one or two logs each, off by 1.7 and 1.1 GiB.
_LEAST_MEASURED_GIB = 1.0


@dataclass(frozen=True, slots=True)
class Subject:
    """The model under plan, as read once."""

    name: str
    model: Architecture
    quantization: Quantization
    weights: Weights
    remote: bool
    license: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """The flags of one attempt, all decided."""

    split: Split
    max_model_len: int
    max_num_seqs: int
    tokens: int
    utilization: float
    kv_dtype: str
    eager: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: bytes of one rank of the stage with the least room.

    `short_bytes` are missing for one request of max_model_len and the margin; `refused` says why vLLM would not try.
    """

    setting: Setting
    budget: int
    weights: int
    activation: int
    overhead: Overhead
    kv: int
    pool: Pool
    token_bytes: int
    short_bytes: int
    refused: tuple[str, ...]
    confidence: Confidence
    margin_gib: float
    graphs: int

    @property
    def fits(self) -> bool:
        return not self.refused and self.kv > 0 and self.short_bytes <= 0


class Evaluator:
    """Works out settings for one model and request; remembers what does not depend on the GPU."""

    def __init__(self, subject: Subject, engine: Engine, request: PlanRequest) -> None:
        self.subject = subject
        self.engine = engine
        self.request = request
        self._caches: dict[tuple[Split, str, int, str], Cache] = {}
        self._stages: dict[tuple[Split, float], tuple[int, ...]] = {}
        self._refusals: dict[tuple[Split, str], tuple[str, ...]] = {}
        self._outcomes: dict[tuple[str, bool, Setting], Outcome] = {}
        self.settled: dict[tuple[str, bool, Split], Outcome] = {}
        self.changes: dict[tuple[str, bool, Setting], str | None] = {}

    @cached_property
    def online(self) -> "Evaluator":
        """The same model with its 16-bit weights quantized to FP8 while loading."""
        fp8 = Quantization(FP8_ONLINE)
        subject = replace(self.subject, quantization=fp8, weights=estimate(self.subject.model, fp8))
        return Evaluator(subject, self.engine, self.request)

    def split(self, split: Split) -> Split:
        """Return the split with expert parallelism where it was asked for, or where quantization blocks demand it."""
        wanted = self.request.expert_parallel
        if wanted is None:
            wanted = needs_expert_parallel(self.subject.model, self.subject.quantization, split)
        return Split(split.tp, split.pp, expert_parallel=wanted and self.subject.model.moe)

    def evaluate(self, target: Target, setting: Setting) -> Outcome:
        """Return what comes of a setting on the target's GPUs; the same for every machine that has them."""
        key = (target.gpu.name, target.fast_links, setting)
        if key not in self._outcomes:
            self._outcomes[key] = self._work_out(target, setting)
        return self._outcomes[key]

    def longest(self, target: Target, setting: Setting) -> int:
        """Return the context that would fit with the margin if nothing else depended on it; whole blocks."""
        rooms = self._rooms(target, setting)[0]
        margin = round(self._margin_gib(target, setting.split) * GIB)
        found = longest(
            self._cache(target.gpu, setting), [room - margin for room in rooms], self.subject.model.max_model_len
        )
        return found // self.request.block_size * self.request.block_size

    def _work_out(self, target: Target, setting: Setting) -> Outcome:
        gpu, split = target.gpu, setting.split
        rooms, stages, peaks, extra = self._rooms(target, setting)
        cache = self._cache(gpu, setting)
        by_concurrency = self.engine.on(gpu).kv_tokens == "concurrency"
        pool = fill(cache, rooms, setting.max_model_len, by_concurrency=by_concurrency)
        worst = min(range(split.pp), key=rooms.__getitem__)
        margin = self._margin_gib(target, split)
        return Outcome(
            setting=setting,
            budget=ceil(gpu.usable_gib * GIB * setting.utilization),
            weights=stages[worst],
            activation=peaks[worst],
            overhead=extra,
            kv=rooms[worst],
            pool=pool,
            token_bytes=max(cache.token_bytes),
            short_bytes=pool.needed_bytes + round(margin * GIB) - rooms[worst],
            refused=self._refused(target, setting),
            confidence=self.confidence(target, split),
            margin_gib=margin,
            graphs=0 if setting.eager else graph_count(gpu, self.subject.model, self._batch(setting)),
        )

    def _rooms(self, target: Target, setting: Setting) -> tuple[list[int], tuple[int, ...], list[int], Overhead]:
        """Return per stage what is left for KV, the weights and the activation peak; and the overhead they share."""
        gpu, split = target.gpu, setting.split
        extra = overhead(
            self.subject.model, self.engine, gpu, split, self._batch(setting), fast_links=target.fast_links
        )
        stages = self._weights(split, gpu)
        budget = ceil(gpu.usable_gib * GIB * setting.utilization)
        peaks = [extra.before] * (split.pp - 1) + [extra.last]
        taken = extra.graphs + extra.non_torch
        return [budget - held - peak - taken for held, peak in zip(stages, peaks, strict=True)], stages, peaks, extra

    def _batch(self, setting: Setting) -> Batch:
        return Batch(
            setting.max_num_seqs, setting.tokens, setting.max_model_len, self.request.speculative_tokens, setting.eager
        )

    def confidence(self, target: Target, split: Split) -> Confidence:
        model = self.subject.model
        if not model.known or not self.engine.listed:
            return Confidence.LOW
        plain = not model.hybrid and not model.multimodal and not any(it.latent for it in model.attentions)
        measured = target.gpu.measured and target.gpu.vendor == "nvidia" and split.pp == 1 and split.tp <= 2  # noqa: PLR2004
        exact = self.subject.weights.exact and not self.request.speculative_tokens
        return Confidence.HIGH if plain and measured and exact else Confidence.MEDIUM

    def _margin_gib(self, target: Target, split: Split) -> float:
        unmeasured = split.tp > 2 or self.request.speculative_tokens > 0  # noqa: PLR2004
        return max(_MARGIN_GIB[self.confidence(target, split)], _LEAST_MEASURED_GIB if unmeasured else 0.0)

    def refused_split(self, target: Target, split: Split) -> tuple[str, ...]:
        """Return why vLLM would refuse the split itself, whatever the other flags."""
        key = (split, target.gpu.name)
        if key not in self._refusals:
            self._refusals[key] = refusals(self.subject.model, self.subject.quantization, target.gpu, split)
        return self._refusals[key]

    def _refused(self, target: Target, setting: Setting) -> tuple[str, ...]:
        found = list(self.refused_split(target, setting.split))
        longest = self.subject.model.max_model_len
        if setting.max_model_len > longest:
            found.append(f"max_model_len {setting.max_model_len:,} is beyond the model's {longest:,} positions")
        if setting.tokens < setting.max_num_seqs:
            found.append(f"max_num_batched_tokens {setting.tokens} is below max_num_seqs {setting.max_num_seqs}")
        return tuple(found)

    def _weights(self, split: Split, gpu: Gpu) -> tuple[int, ...]:
        """Return the loaded bytes of each stage: rope tables on every rank, a draft model on the last.

        What the allocator rounds up counts too: vLLM logs it with the weights, and takes it off the budget.
        """
        growth = expert_growth(self.subject.model, self.subject.quantization, gpu, split)
        key = (split, growth)
        if key not in self._stages:
            stages = list(self.subject.weights.stages(self.subject.model, split, growth))
            stages[-1] += -(-self.request.draft_weights_bytes // split.tp)
            rounded = stage_slack(self.subject.model, self.subject.quantization, split)
            rope = self.subject.model.rope_bytes
            self._stages[key] = tuple(size + more + rope for size, more in zip(stages, rounded, strict=True))
        return self._stages[key]

    def _cache(self, gpu: Gpu, setting: Setting) -> Cache:
        release = self.engine.on(gpu)
        key = (setting.split, setting.kv_dtype, setting.tokens, release.since)
        if key not in self._caches:
            aligned = self.request.prefix_caching and release.state_blocks > 1
            rules = CacheRules(
                tp=setting.split.tp,
                block=self.request.block_size,
                element_bytes=self.subject.model.element_bytes,
                kv_dtype=setting.kv_dtype,
                in_flight=release.in_flight * setting.tokens,
                hybrid=release.hybrid_cache,
                state_blocks=(release.state_blocks if aligned else 1) + self.request.speculative_tokens,
                null_block=release.null_block,
            )
            self._caches[key] = build_cache(self.subject.model, rules, setting.split.pp)
        return self._caches[key]
