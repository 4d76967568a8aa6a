"""Text from a model: batched sampling with a key/value cache."""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from train_lm.data import special_ids
from train_lm.errors import UsageProblem
from train_lm.model import Llama


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: temperature 0 takes the likeliest, `top_k` 0 draws from all."""

    max_tokens: int = 64
    temperature: float = 0.8
    top_k: int = 40
    seed: int = 0


@torch.inference_mode()
def complete(model: Llama, tokenizer: Tokenizer, prompts: list[str], sampling: Sampling) -> list[list[int]]:
    """Return the new token ids of each prompt, ended by END_OF_TEXT (not included) or `max_tokens`.

    Prompts of different lengths run as one batch, padded on the left. A prompt that leaves no room in the model's
    context loses its beginning. Raises UsageProblem where `max_tokens` alone fill it.
    """
    end, padding = special_ids(tokenizer)
    context = model.config.max_position_embeddings
    room = context - sampling.max_tokens
    if room < 1:
        message = f"{sampling.max_tokens} new tokens do not fit: the model's context is {context}."
        raise UsageProblem(message)
    rows = [(tokenizer.encode(prompt).ids or [end])[-room:] for prompt in prompts]
    width = max(map(len, rows))
    device = model.lm_head.weight.device
    tokens = torch.tensor([[padding] * (width - len(row)) + row for row in rows], device=device)
    gaps = torch.tensor([[width - len(row)] for row in rows], device=device)
    dice = torch.Generator(device).manual_seed(sampling.seed)
    caches = model.new_caches()
    chosen: list[list[int]] = [[] for _ in rows]
    open_rows = set(range(len(rows)))
    for past in range(width, width + sampling.max_tokens):
        seen = past - tokens.shape[1]  # tokens that are in the caches already
        positions = torch.arange(seen, past, device=device) - gaps
        logits = model(tokens, positions.clamp(min=0), _mask(gaps, seen, past), caches)[:, -1]
        picked = _pick(logits, sampling, dice)
        for row in sorted(open_rows):
            token = int(picked[row])
            if token == end:
                open_rows.discard(row)
            else:
                chosen[row].append(token)
        if not open_rows:
            break
        tokens = picked.unsqueeze(1)
    return chosen


def _mask(gaps: Tensor, seen: int, past: int) -> Tensor:
    """Return (batch, 1, new, past): a token looks back, but not into its row's padding, and always at itself.

    Padding looks at itself too: a row that sees nothing would be a row of NaN.
    """
    query = torch.arange(seen, past, device=gaps.device).view(1, -1, 1)
    key = torch.arange(past, device=gaps.device).view(1, 1, -1)
    visible = (key <= query) & (key >= gaps.unsqueeze(-1))
    return (visible | (key == query)).unsqueeze(1)


def _pick(logits: Tensor, sampling: Sampling, dice: torch.Generator) -> Tensor:
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    scaled = logits.float() / sampling.temperature
    if 0 < sampling.top_k < scaled.shape[-1]:
        lowest = scaled.topk(sampling.top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < lowest, float("-inf"))
    return torch.multinomial(scaled.softmax(dim=-1), 1, generator=dice).squeeze(1)
