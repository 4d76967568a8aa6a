"""The KV cache as vLLM lays it out: pages per layer, groups that share block tables, blocks a request takes.

Formulas: vllm/v1/kv_cache_interface.py (page and admission sizes) and vllm/v1/core/kv_cache_utils.py (grouping, the
null block, capacity), 0.29; what older releases did differently is named where it matters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from raysvc.planner.architecture import Architecture, Attention, Layer, stage_layers

_DS_MLA_BYTES = 656  # per token: 512 fp8 + 4 fp32 scales + 64 bf16 rotary; MLAAttention.get_kv_cache_spec
_ENOUGH = 1.5  # _get_kv_cache_groups_uniform_page_size: below this ratio the larger layer count is the group size


class Keeps(StrEnum):
    """What a layer keeps of a long sequence."""

    ALL = "all"
    WINDOW = "window"
    CHUNK = "chunk"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class PageSpec:
    """One layer's cache: bytes of a block of `block` tokens on one rank. `reach` is a window's or chunk's length."""

    keeps: Keeps
    page: int
    block: int
    reach: int = 0

    @property
    def family(self) -> tuple[Keeps, int]:
        return self.keeps, self.reach


@dataclass(frozen=True, slots=True)
class CacheRules:
    """What decides the layout beside the model: the request's flags and the release's habits.

    `in_flight` tokens may be scheduled and not yet freed. `hybrid` False: windows count as full attention (V0, and V1
    before its hybrid manager). `state_blocks`: states kept per sequence, 2 with prefix caching (mode `align`).
    """

    tp: int
    block: int
    element_bytes: int
    kv_dtype: str
    in_flight: int
    hybrid: bool = True
    state_blocks: int = 1
    null_block: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a block table."""

    spec: PageSpec
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache of one model under some rules; pure, and the same for every GPU it is tried on.

    `block_bytes` and `token_bytes` are per pipeline stage: what one block costs a rank, and what one further token of
    a long sequence takes.
    """

    groups: tuple[Group, ...]
    rules: CacheRules
    block_bytes: tuple[int, ...]
    token_bytes: tuple[int, ...]

    def blocks_per_request(self, length: int) -> int:
        """Return the blocks that one request of `length` tokens takes from the pool, over all groups."""
        return sum(self._blocks(group.spec, length) for group in self.groups)

    def _blocks(self, spec: PageSpec, length: int) -> int:
        if spec.keeps is Keeps.STATE:
            return self.rules.state_blocks
        if spec.keeps is Keeps.WINDOW:
            return -(-min(spec.reach - 1 + self.rules.in_flight, length) // spec.block) + 1
        if spec.keeps is Keeps.CHUNK:
            return -(-min(spec.reach + self.rules.in_flight, length) // spec.block)
        return -(-length // spec.block)

    def longest(self, blocks: int, limit: int) -> int:
        """Return the longest request, up to `limit`, that this many blocks hold; 0 where not one token does."""
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            if self.blocks_per_request(middle) <= blocks:
                low = middle
            else:
                high = middle - 1
        return low


def build_cache(model: Architecture, rules: CacheRules, stages: int) -> Cache:
    """Return the model's cache layout over this many pipeline stages."""
    if not model.attentions:  # vLLM has no prefix caching for models of states alone
        rules = replace(rules, state_blocks=1)
    attention_block = _attention_block(model, rules)
    specs = {
        index: tuple(_specs(layer, rules, attention_block))
        for index, layer in enumerate(model.layers)
        if layer.state is not None or (layer.attention is not None and layer.attention.cached)
    }
    every = [spec for layer in specs.values() for spec in layer]
    uniform = len({(spec.family, spec.block) for spec in every}) <= 1
    groups = ((Group(every[0], tuple(specs)),) if every else ()) if uniform else _group(specs)
    held = stage_layers(len(model.layers), stages)
    return Cache(
        groups,
        rules,
        block_bytes=tuple(_block_bytes(specs, groups, layers, uniform=uniform) for layers in held),
        token_bytes=tuple(_growth([spec for layer in layers for spec in specs.get(layer, ())]) for layers in held),
    )


def _block_bytes(
    specs: dict[int, tuple[PageSpec, ...]], groups: tuple[Group, ...], layers: range, *, uniform: bool
) -> int:
    """Return what one block costs a rank with these layers: its largest group (_get_kv_cache_bytes_per_block)."""
    if uniform:
        return sum(spec.page for layer in layers for spec in specs.get(layer, ()))
    sizes = [group.spec.page * sum(member in layers for member in group.members) for group in groups]
    return max(sizes, default=0)


def _growth(specs: Sequence[PageSpec]) -> int:
    """Return the bytes of one further token: layers that keep a window or a state do not grow.

    A model that has only such layers is counted as if its windows did.
    """
    growing = [it for it in specs if it.keeps is Keeps.ALL] or [it for it in specs if it.keeps is not Keeps.STATE]
    return sum(spec.page // spec.block for spec in growing)


def token_bytes(it: Attention, rules: CacheRules) -> int:
    """Return the bytes one token takes in one attention layer of one rank; an indexer's keys are not in it."""
    size = 1 if rules.kv_dtype.startswith("fp8") else rules.element_bytes
    if it.latent is not None:  # one latent head, the same on every rank
        return _DS_MLA_BYTES if rules.kv_dtype == "fp8_ds_mla" else (it.latent.rank + it.latent.rope) * size
    heads = max(1, it.kv_heads // rules.tp)
    width = it.key_size + it.value_size
    if rules.kv_dtype == "nvfp4":  # packed pairs and one FP8 scale per 16 values
        return heads * (width // 2 + width // 16)
    return heads * width * size


def _specs(layer: Layer, rules: CacheRules, attention_block: int) -> Iterable[PageSpec]:
    it = layer.attention
    if it is not None and it.cached:
        page = token_bytes(it, rules) * attention_block
        if it.window is not None and rules.hybrid:
            yield PageSpec(Keeps.WINDOW, page, attention_block, it.window)
        elif it.chunk is not None and rules.hybrid:
            yield PageSpec(Keeps.CHUNK, page, attention_block, it.chunk)
        else:
            yield PageSpec(Keeps.ALL, page, attention_block)
        if it.latent is not None and it.latent.indexer:
            # DeepSeek-V3.2's indexer: FP8 keys and one fp32 scale per 128 values.
            keys = it.latent.indexer + it.latent.indexer // 128 * 4
            yield PageSpec(Keeps.ALL, keys * attention_block, attention_block)
    if layer.state is not None:
        yield PageSpec(Keeps.STATE, layer.state.page_bytes(rules.tp), attention_block)


def _attention_block(model: Architecture, rules: CacheRules) -> int:
    """Return the tokens per block: in hybrid models as many as let an attention page hold a state.

    Platform._align_hybrid_block_size; Qwen3.6-27B under TP 2 comes to 784, as its logs say.
    """
    state = max((layer.state.page_bytes(rules.tp) for layer in model.layers if layer.state is not None), default=0)
    token = max((token_bytes(it, rules) for it in model.attentions), default=0)
    if not state or not token:
        return rules.block
    step = max(rules.block, 128) if any(it.latent for it in model.attentions) else rules.block
    return max(rules.block, step * -(-state // (step * token)))


def _group(specs: dict[int, tuple[PageSpec, ...]]) -> tuple[Group, ...]:
    """Group layers of unlike caches: equal pages, equal layer counts (_get_kv_cache_groups_uniform_page_size)."""
    largest = max(spec.page for layer in specs.values() for spec in layer)
    buckets: dict[tuple[Keeps, int], list[tuple[int, PageSpec]]] = {}
    for index, layer in specs.items():
        for spec in layer:
            unified = _unify(spec, largest)
            buckets.setdefault(unified.family, []).append((index, unified))
    counts = [len(bucket) for bucket in buckets.values()]
    size = max(counts) if max(counts) < min(counts) * _ENOUGH else min(counts)
    groups = []
    for bucket in buckets.values():
        number = -(-len(bucket) // size)
        for start in range(number):
            members = bucket[start::number]
            groups.append(Group(members[0][1], tuple(index for index, _ in members)))
    return tuple(groups)


def _unify(spec: PageSpec, largest: int) -> PageSpec:
    """Return the spec with the largest page: more tokens to a block where that divides, padding where not."""
    if spec.page == largest or spec.keeps is Keeps.STATE:
        return PageSpec(spec.keeps, largest, spec.block, spec.reach)
    block = spec.block * (largest // spec.page) if largest % spec.page == 0 else spec.block
    return PageSpec(spec.keeps, largest, block, spec.reach)


@dataclass(frozen=True, slots=True)
class Pool:
    """What a KV budget comes to: the pool of the stage with the least room."""

    needed_bytes: int
    tokens: int
    concurrency: float


def longest(cache: Cache, budgets: Sequence[int], limit: int) -> int:
    """Return the longest request, up to `limit`, that `budgets` (KV bytes of one rank of each stage) hold."""
    pairs = [(budget, size) for budget, size in zip(budgets, cache.block_bytes, strict=True) if size]
    if not pairs:
        return limit
    blocks = min(budget // size for budget, size in pairs)
    return cache.longest(blocks - (1 if cache.rules.null_block else 0), limit)


def fill(cache: Cache, budgets: Sequence[int], max_model_len: int, *, by_concurrency: bool) -> Pool:
    """Return the pool that `budgets` (KV bytes of one rank of each stage) hold.

    `needed_bytes` is one request of max_model_len on the stage with the largest blocks, the null block included.
    """
    pairs = [(budget, size) for budget, size in zip(budgets, cache.block_bytes, strict=True) if size]
    if not pairs:  # attention-free: one block, whatever the length
        return Pool(0, max_model_len, 1.0)
    blocks = max(0, min(budget // size for budget, size in pairs))
    per_request = cache.blocks_per_request(max_model_len)
    concurrency = blocks / per_request
    block = min(group.spec.block for group in cache.groups)
    tokens = int(concurrency * max_model_len) if by_concurrency else blocks // len(cache.groups) * block
    null = 1 if cache.rules.null_block else 0
    return Pool((per_request + null) * max(size for _, size in pairs), tokens, concurrency)
