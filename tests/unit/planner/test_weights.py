"""What a rank holds: what is divided, repeated, padded, tied, and read by a decode step."""

from pathlib import Path
from typing import Any

import pytest

from raysvc.planner import load_catalogue
from raysvc.planner.architecture import EMBED, HEAD, Architecture
from raysvc.planner.checkpoint import load
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.estimate import estimate, fit
from raysvc.planner.quantization import Quantization, read_quantization
from raysvc.planner.safetensors import Tensor, read_tensors
from raysvc.planner.source import LocalSource
from raysvc.planner.weights import Part, Shard, Split, Weights, merge
from tests.unit.planner.checkpoint import LLAMA, llama_tensors, write

GIB = 1 << 30


def model_of(**changes: Any) -> Architecture:
    return describe(Config("test", {**LLAMA, **changes}))


def listed(name: str) -> tuple[Architecture, Quantization]:
    entry = load_catalogue().model(name)
    assert entry is not None
    config = Config(name, entry.config)
    return describe(config), read_quantization(config)


def loaded(model: Architecture, tensors: list[Tensor]) -> Weights:
    return load(model, Quantization(), tensors, online=False)


def weights_of(*parts: Part) -> Weights:
    return Weights(parts, parameters=1, exact=True, checkpoint_bytes=1)


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_a_llama_is_the_sum_of_its_matrices(tp: int) -> None:
    model = model_of()
    (found,) = loaded(model, llama_tensors()).stages(model, Split(tp))

    hidden, inner, layers, vocab = 64, 128, 4, 1024  # 1,000 rows are padded to 1,024
    kv = 16 if tp <= 2 else 32 if tp == 4 else 64  # two heads of 8, one on each rank where there are more
    attention = 2 * hidden * hidden // tp + 2 * kv * hidden // tp
    norms = 2 * hidden
    layer = attention + 3 * hidden * inner // tp + norms
    assert found == 2 * (layers * layer + 2 * vocab * hidden // tp + hidden)


def test_a_float32_checkpoint_is_loaded_in_16_bits(tmp_path: Path) -> None:
    folder = write(tmp_path, LLAMA, llama_tensors(dtype="F32"))
    model = model_of()
    tensors = read_tensors(LocalSource(folder))
    assert tensors is not None
    weights = loaded(model, list(tensors))

    assert weights.stages(model, Split()) == loaded(model, llama_tensors()).stages(model, Split())
    assert weights.checkpoint_bytes == 2 * loaded(model, llama_tensors()).checkpoint_bytes


def test_tied_embeddings_that_a_checkpoint_holds_twice_are_loaded_once() -> None:
    tied = model_of(tie_word_embeddings=True)
    twice = llama_tensors()  # has an lm_head of its own
    once = [tensor for tensor in twice if tensor.name != "lm_head.weight"]

    assert loaded(tied, twice).stages(tied, Split()) == loaded(tied, once).stages(tied, Split())


def test_tied_embeddings_stand_on_the_first_and_the_last_stage() -> None:
    tied = model_of(tie_word_embeddings=True)
    once = [tensor for tensor in llama_tensors() if tensor.name != "lm_head.weight"]
    first, last = loaded(tied, once).stages(tied, Split(pp=2))

    assert last - first == 2 * 64  # the final norm alone


def test_layers_left_over_go_before_the_last_stage() -> None:
    model = model_of(num_hidden_layers=5)
    tensors = llama_tensors({**LLAMA, "num_hidden_layers": 5})
    first, last = loaded(model, tensors).stages(model, Split(pp=2))
    (layer,) = {tensor.nbytes for tensor in tensors if tensor.name.endswith("layers.0.mlp.up_proj.weight")}

    assert first > last
    assert (first - last) // (3 * layer) == 1


def test_experts_are_divided_and_grow_by_their_kernels_padding_alone() -> None:
    model = model_of()
    weights = weights_of(Part(0, Shard.EXPERT, 1000), Part(0, Shard.SPLIT, 1000), Part(EMBED, Shard.COPY, 10))

    assert weights.stages(model, Split(2)) == (1010,)
    assert weights.stages(model, Split(2), expert_growth=1.1) == (1060,)
    assert weights.routed_bytes == 1000


def test_a_decode_step_reads_layers_and_head_but_not_embeddings() -> None:
    untied = weights_of(Part(EMBED, Shard.VOCAB, 100, 64), Part(0, Shard.SPLIT, 7), Part(HEAD, Shard.VOCAB, 90, 64))
    tied = weights_of(Part(EMBED, Shard.VOCAB, 100, 64), Part(0, Shard.SPLIT, 7), Part(HEAD, Shard.COPY, 1))

    assert untied.dense_bytes == 97
    assert tied.dense_bytes == 107


def test_parts_that_divide_alike_are_added_up() -> None:
    parts = [Part(0, Shard.SPLIT, 1), Part(0, Shard.SPLIT, 2), Part(1, Shard.SPLIT, 4), Part(0, Shard.HEADS, 8, 2)]

    assert set(merge(parts)) == {Part(0, Shard.SPLIT, 3), Part(1, Shard.SPLIT, 4), Part(0, Shard.HEADS, 8, 2)}


@pytest.mark.parametrize(
    ("name", "tp", "seen"),
    [
        # `Model loading took … GiB` of the logs in serving.md §3.7
        ("meta-llama/Llama-3.1-8B-Instruct", 1, 14.99),
        ("Qwen/Qwen3-32B", 1, 61.03),
        ("Qwen/Qwen3-32B", 2, 30.59),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", 2, 33.88),
        ("Qwen/Qwen2.5-Math-1.5B-Instruct", 1, 2.88),
    ],
)
def test_weights_worked_out_from_a_config_are_what_vllm_logged(name: str, tp: int, seen: float) -> None:
    model, quantization = listed(name)
    (found,) = estimate(model, quantization).stages(model, Split(tp))

    assert found / GIB == pytest.approx(seen, abs=0.1)


def test_a_known_size_that_counts_tied_embeddings_twice_is_recognized() -> None:
    model, quantization = listed("Qwen/Qwen3-0.6B")
    on_disk = 1_503_300_328  # model.safetensors of the hub, with an lm_head
    weights = fit(model, estimate(model, quantization), on_disk)

    assert weights.stages(model, Split())[0] / GIB == pytest.approx(1.12, abs=0.01)  # as logged
    assert weights.checkpoint_bytes == on_disk


def test_a_known_size_scales_every_part() -> None:
    model = model_of()
    guess = estimate(model, Quantization())
    bigger = fit(model, guess, guess.checkpoint_bytes * 11 // 10)

    assert bigger.stages(model, Split(2))[0] == pytest.approx(1.1 * guess.stages(model, Split(2))[0], rel=1e-3)
    assert not bigger.exact
