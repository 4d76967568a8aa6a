"""What a training run is told: all of it plain values, kept in every checkpoint's manifest."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from train_lm.errors import UsageProblem
from train_lm.model import ModelConfig


@dataclass(frozen=True)
class Preset:
    """A shape by name; `heads` of `width / heads` each, of which `kv_heads` have keys and values of their own."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    tied: bool


# Weights with a vocabulary of 2,048 tokens: 1.0 M, 5.0 M, 36 M, 104 M, 717 M.
PRESETS = {
    "tiny": Preset(layers=4, width=128, heads=4, kv_heads=2, tied=True),
    "small": Preset(layers=6, width=256, heads=8, kv_heads=4, tied=True),
    "medium": Preset(layers=12, width=512, heads=8, kv_heads=4, tied=True),
    "large": Preset(layers=16, width=768, heads=12, kv_heads=4, tied=False),
    "xlarge": Preset(layers=16, width=2048, heads=32, kv_heads=8, tied=False),
}


def feed_forward_width(width: int) -> int:
    """Return Llama's 8/3 of the width, in whole multiples of 64 (what matrix units like)."""
    return 64 * math.ceil(width * 8 / 3 / 64)


@dataclass(frozen=True)
class Settings:
    """One run. `batch` counts sequences per worker and step; `workers` × `batch` × `context` tokens make a step."""

    model: ModelConfig
    data: str  # SHA-256 of the tokens
    workers: int
    batch: int
    context: int
    steps: int
    learning_rate: float
    final_learning_rate: float  # as a share of the peak
    warmup: int  # steps
    weight_decay: float
    dropout: float
    seed: int
    precision: str  # auto | fp32 | bf16
    log_every: int
    eval_every: int
    checkpoint_every: int
    keep: int

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, the first being 0: a linear warm-up, then a cosine down.

        A function of the step alone, so that a schedule needs no state to resume.
        """
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        share = self.final_learning_rate + (1 - self.final_learning_rate) * (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * share

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


# A checkpoint fits another run only if these are equal.
_SAME = ("model", "data", "context", "seed")
# These change nothing that is computed.
_FREE = frozenset({"log_every", "eval_every", "checkpoint_every", "keep"})


def compare(kept: dict[str, Any], wanted: Settings) -> list[str]:
    """Return what differs between a checkpoint's settings and the wanted ones and so ends exactness, as phrases.

    Raises UsageProblem where the checkpoint does not fit the run at all.
    """
    now = wanted.as_dict()
    changes = {key: f"{key} {kept.get(key)} -> {now[key]}" for key in now if kept.get(key) != now[key]}
    wrong = [changes[key] for key in _SAME if key in changes]
    if wrong:
        message = f"The newest checkpoint is of another run: {'; '.join(wrong)}. Use another checkpoint folder."
        raise UsageProblem(message)
    return [phrase for key, phrase in changes.items() if key not in _FREE]
