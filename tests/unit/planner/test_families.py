"""What a config leaves unsaid: the table of class defaults against transformers itself."""

import dataclasses
from importlib import import_module
from typing import Any

import pytest

from raysvc.planner.catalogue import data_mapping
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.family import KNOWN, class_defaults
from tests.unit.planner.checkpoint import LLAMA

# Set while the class is made, or by vLLM, and so no default of a field.
MADE = {"sliding_window_pattern", "full_attention_interval", "rope_local_base_freq"}
# Said by the multimodal config that they are part of.
PARTS = {"qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text"}
REMOTE = {"kimi_k2", "kimi_linear"}  # no class of transformers


@pytest.mark.parametrize("model_type", sorted(data_mapping("families.yaml").keys() - REMOTE))
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    auto = import_module("transformers.models.auto.configuration_auto")
    theirs = {field.name: field.default for field in dataclasses.fields(auto.CONFIG_MAPPING[model_type])}
    for name, value in class_defaults(model_type).items():
        if name in MADE or (model_type in PARTS and name == "tie_word_embeddings"):
            continue
        assert theirs[name] == value, name


def test_every_known_family_has_its_defaults() -> None:
    assert data_mapping("families.yaml").keys() >= KNOWN


@pytest.mark.parametrize(
    ("changes", "window"),
    [({}, 4096), ({"sliding_window": None}, None), ({"sliding_window": 128}, 128)],
)
def test_a_null_is_not_a_missing_field(changes: dict[str, Any], window: int | None) -> None:
    model = describe(Config("test", {**LLAMA, "model_type": "mistral", **changes}))

    assert {it.window for it in model.attentions} == {window}


def test_gemma3_as_published_leaves_out_its_heads() -> None:
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10_240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    model = describe(Config("gemma-3-4b-it", {"model_type": "gemma3", "text_config": text}))

    assert {(it.heads, it.kv_heads, it.key_size) for it in model.attentions} == {(8, 4, 256)}
    assert [layer.attention.window for layer in model.layers[:7] if layer.attention] == [1024] * 5 + [None, 1024]
    assert (model.vocab, model.max_model_len, model.tied) == (262_208, 131_072, True)
