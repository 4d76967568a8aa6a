"""The planner's arithmetic against vLLM's own: parameters per rank, KV pages, pool sizes.

The figures of all models stand in vllm_0_29.json; `test_the_golden_file_is_what_vllm_says` asks the installed vLLM
again for some of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.kv import CacheRules, build_cache, fill
from tests.unit.planner import golden
from tests.unit.planner.golden import SPLITS

NAMES = sorted(golden.golden())
SAVED = [name for name in NAMES if golden.golden()[name]["checkpoint"] is not None]
# Bytes by which a rank may differ: a final norm on stages that do not need it, a per-layer norm that MiniMax divides,
# and Llama 4's patch embedding, which vLLM divides and other encoders' not.
SLACK = {"llama4": 40_000, "minimax_m2": 1_000}
# Tiny models weigh their norms and biases heavily; the estimate leaves biases out.
ESTIMATE_SLACK = 0.02
# Their encoders' patches are most of a tiny model; of a real one, nothing.
NOT_ESTIMATED = {"llama4", "qwen3_5"}
KINDS = {
    "all": {"FullAttentionSpec", "MLAAttentionSpec"},
    "window": {"SlidingWindowSpec"},
    "chunk": {"ChunkedLocalAttentionSpec"},
    "state": {"MambaSpec"},
}
LIVE = ["llama", "deepseek_v3", "qwen3_next", "gpt_oss", "gemma3_silent"]


@pytest.mark.parametrize("name", SAVED)
def test_weights_read_from_headers_are_what_each_rank_holds(name: str) -> None:
    model, weights = golden.architecture(name), golden.loaded(name)
    assert weights is not None
    for label, ranks in golden.golden()[name]["bytes"].items():
        split = SPLITS[label]
        for stage, predicted in enumerate(weights.stages(model, split)):
            assert abs(predicted - ranks[stage]) <= SLACK.get(name, 256), f"{label}, stage {stage}"


def test_most_models_are_exact_to_the_byte_under_tensor_parallelism() -> None:
    exact = 0
    for name in SAVED:
        weights = golden.loaded(name)
        assert weights is not None
        predicted = weights.stages(golden.architecture(name), SPLITS["tp2 pp1"])[0]
        exact += predicted == golden.golden()[name]["bytes"]["tp2 pp1"][0]

    assert len(SAVED) >= 30
    assert exact >= len(SAVED) - 2


@pytest.mark.parametrize("name", sorted(set(NAMES) - NOT_ESTIMATED))
def test_weights_worked_out_from_the_config_are_close(name: str) -> None:
    model, weights = golden.architecture(name), golden.estimated(name)
    for label, ranks in golden.golden()[name]["bytes"].items():
        for stage, predicted in enumerate(weights.stages(model, SPLITS[label])):
            assert predicted == pytest.approx(ranks[stage], rel=ESTIMATE_SLACK), f"{label}, stage {stage}"


@pytest.mark.parametrize("name", NAMES)
def test_every_layers_cache_has_vllms_kind_page_and_block(name: str) -> None:
    for label, caches in golden.golden()[name]["caches"].items():
        layout = golden.cache_of(name, SPLITS[label])
        mine = {_spec(group.spec.keeps.value, group.spec.page, group.spec.block) for group in layout.groups}
        theirs = {_spec(_kind(kind), page, block) for kind, page, block in caches}
        assert theirs <= mine, label  # a stage may hold fewer kinds than the model has


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_comes_to_vllms_tokens_and_concurrency(name: str) -> None:
    for label, (blocks, tokens, concurrency) in golden.golden()[name]["capacity"].items():
        layout = golden.cache_of(name, SPLITS[label])
        pool = fill(layout, [golden.KV_BUDGET], golden.MAX_MODEL_LEN, by_concurrency=True)
        assert golden.KV_BUDGET // layout.block_bytes[0] == blocks, label
        assert pool.tokens == tokens, label
        assert pool.concurrency == pytest.approx(concurrency), label


def test_qwen36_27b_gets_the_block_of_784_tokens_that_its_logs_show() -> None:
    config = {
        "model_type": "qwen3_5",
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "text_config": {
            "model_type": "qwen3_5_text", "hidden_size": 5120, "intermediate_size": 17408, "num_hidden_layers": 64,
            "num_attention_heads": 24, "num_key_value_heads": 4, "head_dim": 256, "full_attention_interval": 4,
            "linear_num_key_heads": 16, "linear_num_value_heads": 48, "linear_key_head_dim": 128,
            "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "vocab_size": 248320,
            "max_position_embeddings": 262144, "mamba_ssm_dtype": "float32",
        },
    }  # fmt: skip
    model = describe(Config("Qwen3.6-27B", config))
    rules = CacheRules(tp=2, block=16, element_bytes=2, kv_dtype="auto", in_flight=8192, state_blocks=2)

    layout = build_cache(model, rules, 1)

    assert {group.spec.block for group in layout.groups} == {784}
    # 16 of 64 layers grow: 65,536 bytes a token over both ranks (club-3090, docs/KV_MATH.md)
    assert layout.token_bytes == (32_768,)


def test_the_golden_file_is_what_vllm_says(tmp_path: Path) -> None:
    program, out = Path(__file__).with_name("vllm_truth.py"), tmp_path / "out.json"
    environment = os.environ | {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}

    command = [sys.executable, str(program), str(golden.PATH), str(out), *LIVE]
    subprocess.run(command, env=environment, check=True, timeout=280, capture_output=True)

    answers = json.loads(out.read_text())
    for name in LIVE:
        expected = golden.golden()[name]
        for key in ("bytes", "caches", "capacity"):
            assert answers[name][key] == expected[key], (name, key)


def _spec(kind: str, page: int, block: int) -> tuple[str, int, int]:
    return (kind, page, 0 if kind == "state" else block)  # a state has no tokens to a block


def _kind(spec: str) -> str:
    return next(kind for kind, names in KINDS.items() if spec in names)
