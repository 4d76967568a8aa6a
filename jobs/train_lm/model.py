"""A Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Modules and config fields carry Hugging Face's names, so that `state_dict()` is already what `LlamaForCausalLM` loads.
Dropout sits on the residual branches and only while training: the exported architecture has none.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 the name everyone knows it by

from train_lm.errors import UsageProblem

# What vLLM's attention kernels take, on CPU and on GPU alike (vLLM 0.29, v1/attention/backends/cpu_attn.py).
SERVABLE_HEAD_DIMS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. Raises UsageProblem for one that cannot be built or served."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    tie_word_embeddings: bool = True
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            message = (
                f"{self.num_attention_heads} heads cannot share {self.num_key_value_heads} key/value heads evenly: "
                "choose --kv-heads that divides --heads."
            )
            raise UsageProblem(message)
        if self.head_dim not in SERVABLE_HEAD_DIMS:
            allowed = ", ".join(map(str, SERVABLE_HEAD_DIMS))
            message = (
                f"A head of {self.head_dim} (width / heads) could be trained but not served by vLLM, which takes "
                f"{allowed}: choose --width and --heads accordingly."
            )
            raise UsageProblem(message)


class Rotation(NamedTuple):
    """cos and sin of each position's angles, (batch or 1, 1, time, head_dim).

    Computed for each call: a table would be a buffer, to be kept, moved and broadcast, for 0.1 % of a step.
    """

    cos: Tensor
    sin: Tensor

    @classmethod
    def of(cls, positions: Tensor, config: ModelConfig) -> "Rotation":
        pairs = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=positions.device) / config.head_dim
        angles = positions.unsqueeze(-1) * config.rope_theta**-pairs
        angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
        return cls(angles.cos(), angles.sin())

    def turn(self, x: Tensor) -> Tensor:
        """Rotate (batch, heads, time, head_dim); the two halves of a head are the pairs' partners, as in HF."""
        left, right = x.chunk(2, dim=-1)
        return (x * self.cos + torch.cat((-right, left), dim=-1) * self.sin).to(x.dtype)


class LayerCache:
    """Keys and values of the tokens that one layer has seen, for decoding one token at a time."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.keys is not None and self.values is not None:
            keys = torch.cat((self.keys, keys), dim=2)
            values = torch.cat((self.values, values), dim=2)
        self.keys, self.values = keys, values
        return keys, values


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.shared_by = config.num_attention_heads // config.num_key_value_heads
        query_width = config.num_attention_heads * config.head_dim
        key_width = config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, query_width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, key_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, key_width, bias=False)
        self.o_proj = nn.Linear(query_width, config.hidden_size, bias=False)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        batch, time, _ = x.shape
        queries, keys, values = (
            projection(x).view(batch, time, -1, self.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        queries, keys = rotation.turn(queries), rotation.turn(keys)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        # Repeated rather than enable_gqa: the CPU's fused kernel takes equal head counts only.
        keys = keys.repeat_interleave(self.shared_by, dim=1)
        values = values.repeat_interleave(self.shared_by, dim=1)
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, time, -1))


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = FeedForward(config)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotation: Rotation, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), rotation, mask, cache))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class Decoder(nn.Module):
    """Everything below the head; HF calls it `model`."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, dropout) for _ in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.config = config

    def forward(
        self, tokens: Tensor, positions: Tensor, mask: Tensor | None, caches: list[LayerCache] | None
    ) -> Tensor:
        x = self.embed_tokens(tokens)
        rotation = Rotation.of(positions, self.config)
        for number, layer in enumerate(self.layers):
            x = layer(x, rotation, mask, caches[number] if caches else None)
        return self.norm(x)


class Llama(nn.Module):
    """A causal language model: `forward` maps tokens (batch, time) to logits (batch, time, vocab_size)."""

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config, dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.apply(_initialise)
        # The branches' outputs add up over the depth; scaled so, the sum's variance does not grow with it (GPT-2).
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.normal_(weight, std=0.02 / (2 * config.num_hidden_layers) ** 0.5)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        caches: list[LayerCache] | None = None,
    ) -> Tensor:
        """Return the logits.

        `positions` (batch, time) default to 0, 1, …; `mask` (batch, 1, time, keys), True where a token may look,
        defaults to causal; `caches`, one a layer, are extended in place.
        """
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device).unsqueeze(0)
        return self.lm_head(self.model(tokens, positions, mask, caches))

    def new_caches(self) -> list[LayerCache]:
        return [LayerCache() for _ in self.model.layers]

    def parameter_count(self) -> int:
        """Return the number of weights; a tied head counts once."""
        return sum(weight.numel() for weight in self.parameters())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Embedding):
        # 0.02 at the width of 2,048 that this is common for; tiny learns faster so: 4.09 held out against 4.36.
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
