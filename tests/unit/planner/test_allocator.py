"""What torch's allocator rounds up, and the rotary tables: what lies between a model's bytes and what vLLM logs."""

import pytest

from raysvc.planner.allocator import slack, stage_slack
from raysvc.planner.architecture import Architecture
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.quantization import Quantization
from raysvc.planner.weights import Split
from tests.unit.planner.test_published import config_of

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("nbytes", "wasted"),
    [
        (9 * MIB + 1, 0),  # shares a segment
        (100 * MIB, 0),
        (31 * MIB + MIB // 2, MIB // 2),
        (259 * MIB, MIB),  # exactly 1 MiB is too little to split off
        (24 * MIB + MIB // 2, 0),  # 1.5 MiB is split off
        (10 * MIB + 1, 0),
    ],
)
def test_what_is_left_of_a_segment_counts_unless_it_can_be_split_off(nbytes: int, wasted: int) -> None:
    assert slack(nbytes) == wasted


def model(name: str, **changes: object) -> Architecture:
    return describe(Config(name, config_of(name, **changes)))


def test_a_model_of_odd_widths_wastes_what_vllm_logged_beyond_its_bytes() -> None:
    qwen = model("qwen2.5-14b")

    (one_of_two,) = stage_slack(qwen, Quantization(), Split(2))

    # 35.0, 25.0, 135.0 and 67.5 MiB a layer
    assert one_of_two == 48 * (1 + 1 + 1 + 0.5) * MIB
    assert one_of_two / GIB == pytest.approx(13.95 - 13.79, abs=0.02)  # vllm#13061: logged, and worked out


def test_a_model_of_round_widths_wastes_nothing() -> None:
    assert stage_slack(model("llama3.1-405b"), Quantization(), Split()) == (0,)


def test_every_stage_wastes_what_its_own_layers_do() -> None:
    qwen = model("qwen2.5-14b")
    whole, first, last = (*stage_slack(qwen, Quantization(), Split(2)), *stage_slack(qwen, Quantization(), Split(2, 2)))

    assert (first, last) == (whole // 2, whole // 2)


def test_gemma_3_scales_the_tables_of_its_global_layers_alone() -> None:
    gemma = model("gemma-3-4b")

    assert gemma.max_model_len == 131_072  # stated after scaling
    assert gemma.rope_bytes == (8 + 1) * 131_072 * 256 * 2


def test_rotary_scaling_is_read_as_transformers_5_writes_it() -> None:
    for scaling in (
        {"full_attention": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    ):
        assert model("qwen3-14b", max_position_embeddings=40960, rope_parameters=scaling).max_model_len == 131_072


def test_a_sparse_indexer_has_queries_of_its_own() -> None:
    sizes = [
        describe(
            Config("", config_of("deepseek-v3", model_type="deepseek_v32", index_head_dim=128, index_n_heads=heads))
        )
        for heads in (0, 64)
    ]
    latents = [it.attentions[0].latent for it in sizes]

    assert [it.indexer_heads for it in latents if it is not None] == [0, 64]
