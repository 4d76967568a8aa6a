"""What makes no sense is refused with the field at fault; what is lacking is said."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raysvc.errors import Invalid, NotFound
from raysvc.planner import GpuPool, LocalSource, Plan, PlanRequest, Source, plan
from tests.unit.planner.checkpoint import LLAMA, llama_tensors, write

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"


def planned(model: str = LLAMA_8B, **fields: Any) -> Plan:
    return plan(PlanRequest(model=model, **fields))


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"gpu": "H100", "gpus": 2, "tensor_parallel": 4}, "gpus", "needs more than 2 GPUs"),
        ({"gpu": "H100", "gpus": 6, "tensor_parallel": 4, "pipeline_parallel": 1}, "gpus", "no multiple of 4 × 1"),
        ({"gpu": "H100", "max_num_seqs": 64, "max_num_batched_tokens": 32}, "max_num_batched_tokens", "below"),
        ({"gpu": "abacus"}, "gpu", "no GPU kind 'abacus'"),
        ({"pools": (GpuPool(name="p", gpu="abacus"),)}, "gpu", "no GPU kind 'abacus'"),
        ({"gpus": 3}, "gpus", "No machine of the catalogue has 3 GPUs"),
        ({"engine_version": "newest"}, "engine_version", "is no vLLM version"),
    ],
)
def test_requests_that_contradict_themselves(fields: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        planned(**fields)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "fields",
    [
        {"model": ""},
        {"tensor_parallel": 0},
        {"gpu_memory_utilization": 1.5},
        {"gpu_memory_utilization": 0},
        {"max_model_len": -1},
        {"kv_cache_dtype": "int3"},
        {"quantization": "magic"},
        {"usd_per_gpu_hour": -1},
        {"tensor_paralel": 2},
    ],
)
def test_fields_out_of_their_range(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PlanRequest.model_validate({"model": LLAMA_8B, **fields})


def test_a_pool_that_is_not_there() -> None:
    with pytest.raises(NotFound, match="no pool 'attic'"):
        planned(pool="attic", pools=(GpuPool(name="cellar", gpu="H100"),))


def test_a_model_that_is_nowhere() -> None:
    with pytest.raises(NotFound):
        planned("nobody/nothing")


def test_an_index_that_names_missing_files_is_an_error_of_the_plan(tmp_path: Path) -> None:
    folder = write(tmp_path, LLAMA, llama_tensors(), shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()

    with pytest.raises(Invalid, match=r"model-00002-of-00003\.safetensors"):
        planned(str(folder), gpu="H100")


def test_numbers_that_overflow_nothing(tmp_path: Path) -> None:
    config = {**LLAMA, "vocab_size": 10**9, "hidden_size": 10**6, "num_hidden_layers": 2000}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = planned(str(tmp_path), gpu="H100")

    assert not any(it.fits for it in found.candidates)


class Remote:
    """A reader as the callers of the planner bring one: it knows one repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, model: str) -> Source:
        if model != "hf://acme/tiny":
            raise NotFound(f"There is no model {model}.")
        return LocalSource(self.folder)


def test_a_remote_model_is_planned_through_the_reader_and_downloads_count(tmp_path: Path) -> None:
    folder = write(tmp_path, LLAMA, llama_tensors())
    request = PlanRequest(model="hf://acme/tiny", gpu="H100", tensor_parallel=1)
    remote = plan(request, reader=Remote(folder)).candidates[0]
    local = planned(str(folder), gpu="H100", tensor_parallel=1).candidates[0]

    assert remote.weights_gib_per_gpu == local.weights_gib_per_gpu
    assert remote.confidence == local.confidence
    assert remote.cold_start_s >= local.cold_start_s


def test_a_readers_refusal_is_the_callers_to_see(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model hf://acme/secret"):
        plan(PlanRequest(model="hf://acme/secret", gpu="H100"), reader=Remote(tmp_path))


def test_a_listed_model_needs_no_reader() -> None:
    found = planned("hf://meta-llama/Llama-3.1-8B-Instruct", gpu="H100", tensor_parallel=1)

    assert found.model.license == "llama3.1"
    assert found.candidates[0].fits
