"""Published models by their config.json alone: parameters as their repositories state them, sizes as vLLM loads them.

published.json holds what of each config decides its size, and the parameters of the model without drafts.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from raysvc.errors import Invalid
from raysvc.planner import Candidate, PlanRequest, plan
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.estimate import estimate
from raysvc.planner.quantization import read_quantization

PUBLISHED: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("published.json").read_text())
GIB = 1 << 30


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    return {**PUBLISHED[name]["config"], **changes}


def planned(folder: Path, config: dict[str, Any], **asked: Any) -> Candidate:
    (folder / "config.json").write_text(json.dumps(config))
    candidate, *_ = plan(PlanRequest(model=str(folder), **{"gpu": "B200", "tensor_parallel": 1, **asked})).candidates
    return candidate


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_come_to_what_is_published(name: str) -> None:
    config = Config(name, PUBLISHED[name]["config"])
    found = estimate(describe(config), read_quantization(config)).parameters

    assert found == pytest.approx(PUBLISHED[name]["parameters"], rel=7e-4 if "vision_config" in config.raw else 2e-4)


@pytest.mark.parametrize(
    ("name", "total_size", "parameters"),
    [
        # metadata.total_size of their indexes: each holds a draft layer, DeepSeek's and GLM's with tables of its own
        ("deepseek-v3", 688_586_727_753, 671.026e9),
        ("glm-4.5-air", 220_937_649_664, 106.852e9),
        ("qwen3-next-80b", 162_649_725_440, 79.674e9),
    ],
)
def test_draft_layers_that_a_size_counts_are_not_loaded(
    tmp_path: Path, name: str, total_size: int, parameters: float
) -> None:
    alone = planned(tmp_path, config_of(name), tensor_parallel=8)
    sized = planned(tmp_path, config_of(name), tensor_parallel=8, weights_bytes=total_size)

    assert PUBLISHED[name]["parameters"] == pytest.approx(parameters, rel=1e-4)
    assert sized.weights_gib_per_gpu == pytest.approx(alone.weights_gib_per_gpu, rel=1e-3)


def test_an_index_without_its_files_states_the_size(tmp_path: Path) -> None:
    config = config_of("llama3.2-1b", quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128})
    weight_map = {"model.norm.weight": "model-00001-of-00001.safetensors"}
    size = 1_100_000_000
    alone = planned(tmp_path, config)
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    stated = planned(tmp_path, config)
    (tmp_path / "model.safetensors.index.json").unlink()

    assert stated.weights_gib_per_gpu != alone.weights_gib_per_gpu
    given = planned(tmp_path, config, weights_bytes=size)
    assert stated.model_dump(exclude={"reasons"}) == given.model_dump(exclude={"reasons"})
    assert any("are not here" in reason for reason in stated.reasons)


def test_an_index_of_another_model_without_its_files_is_refused(tmp_path: Path) -> None:
    weight_map = {"model.norm.weight": "model-00001-of-00001.safetensors"}
    index = {"metadata": {"total_size": 1000}, "weight_map": weight_map}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(Invalid, match="1 of 1 files that are not there"):
        planned(tmp_path, config_of("llama3.2-1b"))


def test_deepseek_v4_has_4_bit_experts_beside_8_bit_matrices(tmp_path: Path) -> None:
    config = config_of("deepseek-v3", model_type="deepseek_v4", kv_lora_rank=None, num_key_value_heads=1)
    four = planned(tmp_path, config, tensor_parallel=8)
    eight = planned(tmp_path, {**config, "expert_dtype": "fp8"}, tensor_parallel=8)

    assert four.confidence == "low"
    assert eight.weights_gib_per_gpu - four.weights_gib_per_gpu == pytest.approx(
        58 * 256 * 3 * 7168 * 2048 * (1 - 4.25 / 8) / 8 / GIB, rel=0.01
    )
