"""A config.json that a stranger wrote costs no more than a moment, and ends in a plan or in a clear refusal."""

import time
from pathlib import Path
from typing import Any

import pytest

from raysvc.domain.plan import PlanRequest
from raysvc.errors import Invalid, NotFound
from raysvc.planner import plan
from raysvc.planner.source import MAX_CONFIG
from tests.unit.planner.checkpoint import LLAMA, write

HUGE = 10**40
REFUSED: dict[str, dict[str, Any]] = {
    "more layers than can be looked at": {"num_hidden_layers": 10**9},
    "a vocabulary that no float holds": {"vocab_size": HUGE},
    "a width that no float holds": {"hidden_size": 10**300},
    "a context that no float holds": {"max_position_embeddings": HUGE},
    "heads that no float holds": {"num_key_value_heads": HUGE},
    "a rope factor without end": {"rope_scaling": {"factor": 1e308, "type": "yarn"}},
    "a quantization block of nothing": {
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 0]},
    },
    "a quantization block of words": {
        "quantization_config": {"quant_method": "fp8", "weight_block_size": ["a", "b"]},
    },
    "a mixture without a choice": {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 0},
    "layers of a period of nothing": {"model_type": "jamba", "expert_layer_period": 0},
}
TAKEN: dict[str, dict[str, Any]] = {
    "a rope scaling that is a word": {"rope_scaling": "x"},
    "a type that is a number": {"model_type": 5},
    "architectures that are a word": {"architectures": "Llama"},
    "kinds of layers that are no words": {"layer_types": [{}] * 4},
    "encoders without end": {"vision_config": {"hidden_size": 10**100, "num_hidden_layers": 10**100}},
    "a dtype that is none": {"torch_dtype": 7},
    "quantization that is a list": {"quantization_config": []},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_describes_no_model_is_refused_at_once(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write(tmp_path / "m", {**LLAMA, **change}, [])
    (folder / "model.safetensors").unlink()
    began = time.process_time()
    with pytest.raises(Invalid, match=r"config\.json"):
        plan(PlanRequest(model=str(folder)))
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("change", TAKEN.values(), ids=TAKEN)
def test_what_is_odd_beside_the_model_does_not_stop_a_plan(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write(tmp_path / "m", {**LLAMA, **change}, [])
    (folder / "model.safetensors").unlink()
    assert plan(PlanRequest(model=str(folder))).candidates


def test_a_name_that_no_file_can_have_is_not_found() -> None:
    for name in ("x" * 2000, "a\0b"):
        with pytest.raises(NotFound):
            plan(PlanRequest(model=name))


def test_a_lone_file_too_large_for_a_config_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    with file.open("wb") as data:
        data.truncate(MAX_CONFIG + 1)
    with pytest.raises(Invalid, match="not a config"):
        plan(PlanRequest(model=str(file)))
