"""Loaded weights, as parts that know how they divide over ranks.

How vLLM divides (model classes of 0.29, checked against them in tests/unit/planner/test_against_vllm.py):
column- and row-parallel matrices by TP; key and value heads by min(TP, heads), repeated beyond; vocabulary rows padded
to 64 and divided; routers, norms and MLA's compressing projections on every rank; experts by TP, or by whole experts
with expert parallelism; layers by pipeline stage.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from raysvc.planner.architecture import EMBED, HEAD, Architecture, stage_layers

VOCAB_PADDING = 64  # vllm/model_executor/layers/vocab_parallel_embedding.py DEFAULT_VOCAB_PADDING_SIZE


class Shard(StrEnum):
    """How a part divides over tensor-parallel ranks."""

    COPY = "copy"
    SPLIT = "split"
    HEADS = "heads"  # key/value heads, and Mamba's groups: `rows` of them, repeated where there are more ranks
    VOCAB = "vocab"  # `rows` of the vocabulary
    EXPERT = "expert"


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a model at a place: a layer's number, or EMBED, HEAD, BESIDE."""

    place: int
    shard: Shard
    nbytes: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """How a replica is divided. `expert_parallel`: whole experts per rank instead of slices of each."""

    tp: int = 1
    pp: int = 1
    expert_parallel: bool = False


@dataclass(frozen=True)
class Weights:
    """All loaded weights of a model. `exact`: read tensor by tensor; `parameters` in the checkpoint's own terms."""

    parts: tuple[Part, ...]
    parameters: int
    exact: bool
    checkpoint_bytes: int

    def stages(self, model: Architecture, split: Split, expert_growth: float = 1.0) -> tuple[int, ...]:
        """Return the bytes on one rank of each pipeline stage.

        `expert_growth` is what a kernel's padding adds to expert matrices (1.0: nothing). Tied embeddings stand on
        the last stage a second time, since it computes the logits; some classes keep embeddings and head everywhere.
        """
        if split.pp == 1:
            return (round(sum(_on_rank(part, split.tp) * _growth(part, expert_growth) for part in self._flat)),)
        totals = [0.0] * split.pp
        owner = {
            layer: stage for stage, layers in enumerate(stage_layers(len(model.layers), split.pp)) for layer in layers
        }
        for part in self.parts:
            nbytes = _on_rank(part, split.tp) * _growth(part, expert_growth)
            if part.place in model.repeated:
                totals = [total + nbytes for total in totals]
                continue
            stage = split.pp - 1 if part.place == HEAD else owner.get(part.place, 0)
            totals[stage] += nbytes
            if part.place == EMBED and model.tied:
                totals[-1] += nbytes
        return tuple(round(total) for total in totals)

    @cached_property
    def routed_bytes(self) -> int:
        """All experts, of which a decode step reads those that its batch chose."""
        return sum(part.nbytes for part in self._flat if part.shard is Shard.EXPERT)

    @cached_property
    def dense_bytes(self) -> int:
        """What every decode step reads: all layers but the experts, and the head (tied or not)."""
        read = (part.nbytes for part in self.parts if part.place >= 0 and part.shard is not Shard.EXPERT)
        heads = [part.nbytes for part in self.parts if part.place == HEAD and part.shard is Shard.VOCAB]
        return sum(read) + (sum(heads) or sum(part.nbytes for part in self.parts if part.place == EMBED))

    @cached_property
    def _flat(self) -> tuple[Part, ...]:
        return merge(Part(0, part.shard, part.nbytes, part.rows) for part in self.parts)


def _growth(part: Part, expert_growth: float) -> float:
    return expert_growth if part.shard is Shard.EXPERT else 1.0


def _on_rank(part: Part, tp: int) -> float:
    if part.shard is Shard.COPY or (tp == 1 and part.shard is not Shard.VOCAB):
        return part.nbytes
    if part.shard is Shard.HEADS:
        return part.nbytes * max(1, part.rows // tp) / part.rows
    if part.shard is Shard.VOCAB:
        padded = -(-part.rows // VOCAB_PADDING) * VOCAB_PADDING
        return part.nbytes * padded / part.rows / tp
    return part.nbytes / tp


def merge(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Add up parts that divide alike at one place: a checkpoint of 90,000 tensors becomes a few hundred parts."""
    totals: dict[tuple[int, Shard, int], int] = {}
    for part in parts:
        key = (part.place, part.shard, part.rows)
        totals[key] = totals.get(key, 0) + part.nbytes
    return tuple(Part(place, shard, nbytes, rows) for (place, shard, rows), nbytes in totals.items())


def scaled(weights: Weights, factor: float, checkpoint_bytes: int) -> Weights:
    """Return the weights with every part scaled: an architecture's estimate fitted to a known size."""
    parts = tuple(Part(part.place, part.shard, round(part.nbytes * factor), part.rows) for part in weights.parts)
    return Weights(parts, weights.parameters, exact=False, checkpoint_bytes=checkpoint_bytes)
