"""Bytes of the KV cache: per token and rank, per block, per request."""

from dataclasses import replace
from typing import Any

import pytest

from raysvc.planner import load_catalogue
from raysvc.planner.architecture import Architecture
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.kv import CacheRules, build_cache, fill, longest
from tests.unit.planner import golden
from tests.unit.planner.checkpoint import LLAMA

RULES = CacheRules(tp=1, block=16, element_bytes=2, kv_dtype="auto", in_flight=8192)


def listed(name: str) -> Architecture:
    entry = load_catalogue().model(name)
    assert entry is not None
    return describe(Config(name, entry.config))


def llama(**changes: Any) -> Architecture:
    return describe(Config("test", {**LLAMA, **changes}))


def per_token(model: Architecture, **rules: Any) -> int:
    (size,) = build_cache(model, replace(RULES, **rules), 1).token_bytes
    return size


@pytest.mark.parametrize(
    ("name", "tp", "dtype", "expected"),
    [
        # serving.md §3.3: 2 × layers × heads × size × bytes
        ("meta-llama/Llama-3.1-8B-Instruct", 1, "auto", 131_072),
        ("meta-llama/Llama-3.1-8B-Instruct", 2, "auto", 65_536),
        ("meta-llama/Llama-3.1-8B-Instruct", 1, "fp8", 65_536),
        ("meta-llama/Llama-3.1-8B-Instruct", 1, "fp8_e5m2", 65_536),
        ("meta-llama/Llama-3.1-8B-Instruct", 1, "nvfp4", 131_072 * 9 // 32),
        ("meta-llama/Llama-3.3-70B-Instruct", 1, "auto", 327_680),
        # eight heads over sixteen ranks: each holds one, repeated
        ("meta-llama/Llama-3.3-70B-Instruct", 8, "auto", 40_960),
        ("meta-llama/Llama-3.3-70B-Instruct", 16, "auto", 40_960),
        # the latent is the same on every rank: 61 × (512 + 64) × 2
        ("deepseek-ai/DeepSeek-R1", 1, "auto", 70_272),
        ("deepseek-ai/DeepSeek-R1", 8, "auto", 70_272),
        ("deepseek-ai/DeepSeek-R1", 8, "fp8_ds_mla", 61 * 656),
        # half of the layers keep a window
        ("openai/gpt-oss-20b", 1, "auto", 24_576),
        # 12 of 48 layers attend
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 1, "auto", 24_576),
    ],
)
def test_bytes_of_a_token(name: str, tp: int, dtype: str, expected: int) -> None:
    assert per_token(listed(name), tp=tp, kv_dtype=dtype) == expected


def test_multi_query_attention_is_repeated_on_every_rank() -> None:
    model = llama(num_key_value_heads=1)

    assert per_token(model, tp=1) == per_token(model, tp=8) == 2 * 4 * 8 * 2


def test_an_engine_without_groups_keeps_windows_whole() -> None:
    model = listed("openai/gpt-oss-20b")

    assert per_token(model, hybrid=False) == 2 * per_token(model)


def test_requests_take_whole_blocks() -> None:
    cache = build_cache(llama(), RULES, 1)

    assert [cache.blocks_per_request(length) for length in (1, 16, 17, 4096)] == [1, 1, 2, 256]
    assert cache.block_bytes == (16 * per_token(llama()),)


def test_a_window_holds_what_it_sees_and_what_is_in_flight() -> None:
    cache = build_cache(llama(model_type="mistral", sliding_window=1024), replace(RULES, in_flight=512), 1)

    assert cache.blocks_per_request(100_000) == -(-(1023 + 512) // 16) + 1
    assert cache.blocks_per_request(64) == 4 + 1  # it may begin within a block


@pytest.mark.parametrize("dtype", ["auto", "fp8"])
def test_a_state_takes_the_same_for_every_length(dtype: str) -> None:
    rules = replace(RULES, kv_dtype=dtype, state_blocks=2)
    cache = build_cache(listed("Qwen/Qwen3-Next-80B-A3B-Instruct"), rules, 1)
    states = sum(group.spec.keeps.value == "state" for group in cache.groups)
    block = cache.groups[0].spec.block

    assert states == 3
    assert cache.blocks_per_request(block) == 1 + 2 * states
    assert cache.blocks_per_request(5 * block) == 5 + 2 * states


def test_the_null_block_is_kept_back() -> None:
    with_null, without = (build_cache(llama(), replace(RULES, null_block=null), 1) for null in (True, False))
    budget = 256 * with_null.block_bytes[0]

    assert fill(without, [budget], 4096, by_concurrency=False).needed_bytes == budget
    assert fill(with_null, [budget], 4096, by_concurrency=False).needed_bytes == budget + with_null.block_bytes[0]
    assert longest(without, [budget], 10_000) == 4096
    assert longest(with_null, [budget], 10_000) == 4080


def test_the_stage_with_the_least_room_decides() -> None:
    cache = build_cache(llama(), RULES, 2)
    block = cache.block_bytes[0]
    pool = fill(cache, [100 * block, 10 * block], 16, by_concurrency=False)

    assert pool.tokens == 160
    assert pool.concurrency == 10


def test_no_budget_is_no_pool() -> None:
    pool = fill(build_cache(llama(), RULES, 1), [-5], 16, by_concurrency=False)

    assert (pool.tokens, pool.concurrency) == (0, 0)


def test_the_two_ways_to_count_tokens_agree_for_one_group() -> None:
    cache = build_cache(llama(), RULES, 1)
    budget = 1000 * cache.block_bytes[0]

    assert fill(cache, [budget], 4096, by_concurrency=True).tokens == 16_000
    assert fill(cache, [budget], 4096, by_concurrency=False).tokens == 16_000


def test_a_model_of_states_alone_has_one_block_a_sequence() -> None:
    cache = golden.cache_of("mamba2", golden.SPLITS["tp1 pp1"])

    assert cache.blocks_per_request(1) == cache.blocks_per_request(1_000_000) == 1
