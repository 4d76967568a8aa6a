"""Architectures read from configs: what attends, what it keeps, what routes."""

from typing import Any

import pytest

from raysvc.domain.plan import PlanRequest
from raysvc.errors import Invalid
from raysvc.planner.architecture import Architecture, stage_layers
from raysvc.planner.catalogue import load_catalogue
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.kv import Keeps
from raysvc.planner.plan import read_subject
from raysvc.planner.weights import Split
from tests.unit.planner import golden
from tests.unit.planner.checkpoint import LLAMA


def model_of(**changes: Any) -> Architecture:
    return describe(Config("test", {**LLAMA, **changes}))


@pytest.mark.parametrize("entry", load_catalogue().models, ids=lambda entry: entry.name)
def test_listed_models_have_their_published_parameters(entry: Any) -> None:
    subject = read_subject(PlanRequest(model=entry.name), load_catalogue(), None)

    assert subject.model.known
    assert subject.weights.parameters / 1e9 == pytest.approx(entry.parameters, rel=0.01)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("gemma2", "w.w.w"),
        ("gemma3", "ww.ww"),
        ("gpt_oss", "w.w.w"),
        ("cohere2", "www.w"),
        ("mistral", "wwwww"),
        ("qwen2", "....."),
        ("llama4", "ccc.ccc."),
        ("qwen3_next", "sss.sss."),
        ("jamba", "ss.sss.s"),
        ("granite_hybrid", "ss.ss"),
        ("falcon_h1", "bbbbb"),
        ("nemotron_h", "s-s.-s-s"),
        ("lfm2", "ss.s."),
        ("mamba2", "sssss"),
    ],
)
def test_layer_patterns(name: str, kinds: str) -> None:
    letters = ""
    for layer in golden.architecture(name).layers:
        it = layer.attention
        if it is None:
            letters += "s" if layer.state is not None else "-"
        elif layer.state is not None:
            letters += "b"
        else:
            letters += "w" if it.window else "c" if it.chunk else "."

    assert letters == kinds


def test_qwens_window_counts_only_where_it_is_switched_on() -> None:
    off = model_of(model_type="qwen2", sliding_window=1024, use_sliding_window=False)
    on = model_of(model_type="qwen2", sliding_window=1024, use_sliding_window=True, max_window_layers=3)

    assert [it.window for it in off.attentions] == [None]
    assert [layer.attention.window for layer in on.layers if layer.attention] == [None, None, None, 1024]


def test_mixtures_route_only_the_layers_that_their_config_names() -> None:
    deepseek = golden.architecture("deepseek_v3")
    llama4 = golden.architecture("llama4")

    assert [layer.experts is not None for layer in deepseek.layers] == [False, True, True, True, True]
    assert [layer.experts is not None for layer in llama4.layers] == [False, True] * 4
    assert deepseek.layers[1].experts is not None
    assert deepseek.layers[1].experts.shared == 32


def test_gemma4s_full_layers_have_heads_of_their_own_and_its_last_layers_no_cache() -> None:
    model = model_of(
        model_type="gemma4_text", head_dim=16, global_head_dim=32, num_global_key_value_heads=1, attention_k_eq_v=True,
        sliding_window=64, layer_types=["sliding_attention", "full_attention"] * 2, num_kv_shared_layers=1,
    )  # fmt: skip
    seen = [(it.key_size, it.kv_heads, it.cached) for layer in model.layers if (it := layer.attention)]

    assert seen == [(16, 2, True), (32, 1, True), (16, 2, True), (32, 1, False)]
    assert not model.known


def test_deepseek_v32_keeps_an_indexer_beside_the_latent() -> None:
    catalogue = load_catalogue().model("deepseek-ai/DeepSeek-R1")
    assert catalogue is not None
    model = describe(Config("v3.2", {**catalogue.config, "model_type": "deepseek_v32", "index_head_dim": 128}))

    assert model.attentions[0].latent is not None
    assert model.attentions[0].latent.indexer == 128


@pytest.mark.parametrize(
    ("scaling", "length"),
    [
        (None, 4096),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 512}, 4096),
        ({"rope_type": "linear", "factor": 4.0}, 16384),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}, 16384),
        ({"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 128}, 4096),
    ],
)
def test_the_longest_context(scaling: dict[str, Any] | None, length: int) -> None:
    assert model_of(rope_scaling=scaling).max_model_len == length


def test_an_unknown_architecture_is_estimated_and_said_to_be_unknown() -> None:
    model = model_of(model_type="brandnew", architectures=["BrandNewForCausalLM"])

    assert not model.known
    assert "'brandnew'" in model.notes[0]
    assert len(model.layers) == 4


def test_an_unknown_layer_type_is_said_and_counted_as_full_attention() -> None:
    model = model_of(layer_types=["full_attention", "quantum_attention"] * 2)

    assert not model.known
    assert "quantum_attention" in model.notes[0]
    assert {it.window for it in model.attentions} == {None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "no hidden_size"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers must be a whole number, not 'many'"),
        ({"num_attention_heads": 0}, "num_attention_heads must be at least 1"),
        ({"vocab_size": -5}, "vocab_size must be a whole number"),
        ({"vocab_size": True}, "vocab_size must be a whole number"),
        ({"layer_types": ["full_attention"]}, "names 1 layer_types for 4 layers"),
        ({"layer_types": ["sliding_attention"] * 4}, "no sliding_window"),
    ],
)
def test_a_config_that_makes_no_sense_says_which_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        model_of(**changes)


def test_multimodal_configs_are_read_through_to_the_language_model() -> None:
    model = golden.architecture("qwen3_5")

    assert model.multimodal
    assert model.vision_heads == 4
    assert {Keeps.ALL, Keeps.STATE} == {group.spec.keeps for group in golden.cache_of("qwen3_5", Split()).groups}


@pytest.mark.parametrize(
    ("layers", "stages", "sizes"),
    [(32, 1, [32]), (32, 4, [8, 8, 8, 8]), (61, 2, [31, 30]), (61, 4, [15, 15, 16, 15]), (5, 4, [1, 1, 2, 1])],
)
def test_layers_are_laid_over_stages_as_vllm_does(layers: int, stages: int, sizes: list[int]) -> None:
    assert [len(stage) for stage in stage_layers(layers, stages)] == sizes
