"""The shape of a model, layer by layer: what attends, what carries state, what is computed between."""

from dataclasses import dataclass, field
from functools import cache, cached_property
from math import prod

# Places of weights that are no layer: embeddings (first stage), norm and head (last), encoders (every stage).
EMBED, HEAD, BESIDE = -1, -2, -3


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention (DeepSeek): keys and values compressed to `rank`, one rotary key of `rope`.

    `query_rank` 0: queries are not compressed. `indexer` is the key size of DeepSeek-V3.2's sparse indexer, 0 without;
    it has `indexer_heads` queries of that size.
    """

    rank: int
    rope: int
    nope: int
    value: int
    query_rank: int
    indexer: int = 0
    indexer_heads: int = 0


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention layer. `window` and `chunk` bound what it keeps; `cached` False reads an earlier layer's cache."""

    heads: int
    kv_heads: int
    key_size: int
    value_size: int
    window: int | None = None
    chunk: int | None = None
    latent: Latent | None = None
    cached: bool = True
    gated: bool = False  # an output gate as wide as the queries, from the query projection (Qwen3-Next)
    bias: bool = False

    @property
    def query_width(self) -> int:
        return self.heads * self.key_size


@dataclass(frozen=True, slots=True)
class State:
    """A layer with a state of fixed size per sequence: vLLM's MambaStateShapeCalculator, 0.29.

    `kind` is mamba1, mamba2, gdn (gated delta net), kda or conv (LFM2). `recurrent_bytes` and `conv_bytes` are element
    sizes. For gdn, `groups` are key heads of `state` and `heads` value heads of `head_size`.
    """

    kind: str
    inner: int
    state: int
    kernel: int
    heads: int = 1
    head_size: int = 0
    groups: int = 1
    rank: int = 0
    conv_bytes: int = 2
    recurrent_bytes: int = 2

    def shapes(self, tp: int) -> tuple[tuple[tuple[int, ...], int], ...]:
        """Return ((shape, element bytes), …) of what one rank of `tp` keeps for one sequence."""
        history = self.kernel - 1
        if self.kind == "conv":
            return (((self.inner // tp, history), self.conv_bytes),)
        if self.kind == "mamba1":
            return (
                ((self.inner // tp, history), self.conv_bytes),
                ((self.inner // tp, self.state), self.recurrent_bytes),
            )
        if self.kind in {"gdn", "kda"}:
            convolved = 2 * self.state * self.groups + self.head_size * self.heads
            recurrent = (self.heads // tp, self.head_size, self.state)
        else:  # mamba2: groups are repeated where there are fewer than ranks
            groups = self.groups if self.groups % tp == 0 else tp
            convolved = self.inner + 2 * groups * self.state
            recurrent = (self.heads // tp, self.head_size, self.state)
        return (((convolved // tp, history), self.conv_bytes), (recurrent, self.recurrent_bytes))

    def page_bytes(self, tp: int) -> int:
        return sum(prod(shape) * size for shape, size in self.shapes(tp))


@dataclass(frozen=True, slots=True)
class Mlp:
    """A feed-forward block of every token. `gated`: gate and up projection (SwiGLU) instead of one."""

    width: int
    gated: bool = True


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: `count` of `width`, `chosen` per token, beside a shared block of `shared` (0: none)."""

    count: int
    chosen: int
    width: int
    shared: int = 0
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    attention: Attention | None = None
    state: State | None = None
    mlp: Mlp | None = None
    experts: Experts | None = None


@dataclass(frozen=True)
class Architecture:
    """A whole model.

    `rope_bytes` are vLLM's cos/sin tables, `positions` rows of learned position embeddings, `vision_parameters` those
    of encoders beside the language model, `drafts` layers for speculation that a checkpoint may hold. `repeated`:
    places that vLLM's class keeps on every pipeline stage.
    """

    name: str
    model_type: str
    known: bool
    hidden: int
    vocab: int
    tied: bool
    max_model_len: int
    element_bytes: int
    layers: tuple[Layer, ...]
    rope_bytes: int = 0
    positions: int = 0
    repeated: frozenset[int] = frozenset({BESIDE})
    multimodal: bool = False
    vision_parameters: int = 0
    vision_heads: int = 0
    drafts: int = 0
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def distinct(self) -> tuple[Layer, ...]:
        """The layers, each kind once: a model of 80 layers has one or two."""
        return tuple(dict.fromkeys(self.layers))

    @cached_property
    def attentions(self) -> tuple[Attention, ...]:
        """The kinds of attention that occur."""
        return tuple(layer.attention for layer in self.distinct if layer.attention is not None)

    @cached_property
    def moe(self) -> bool:
        return any(layer.experts is not None for layer in self.distinct)

    @cached_property
    def hybrid(self) -> bool:
        return any(layer.state is not None for layer in self.distinct)


@cache
def stage_layers(count: int, stages: int) -> tuple[range, ...]:
    """Return the layers of each pipeline stage: vllm/distributed/utils.py get_pp_indices.

    What is left over goes to the stages before the last, from the back, since the last also holds norm and head.
    """
    sizes = [count // stages] * stages
    for place in range(2, count % stages + 2):
        sizes[-place] += 1
    starts = [sum(sizes[:stage]) for stage in range(stages)]
    return tuple(range(start, start + size) for start, size in zip(starts, sizes, strict=True))
