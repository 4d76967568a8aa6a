"""The training loop: one class, the same alone and on every rank of a team. Knows neither Ray nor the platform."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 the name everyone knows it by

from train_lm import randomness
from train_lm.checkpoint import Checkpoints
from train_lm.data import Corpus
from train_lm.model import Llama
from train_lm.settings import Settings, compare
from train_lm.team import Team

_EVAL_SEQUENCES = 64  # of the held-out text at most: 64 × 128 tokens take 1 s on one core with the tiny preset
_CLIP = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: at `step` of its steps, complete or asked to stop. Losses are in nats per token."""

    step: int
    loss: float | None
    eval_loss: float | None
    stopped: bool


class Run:
    """One worker's part of a training run; construct it on every rank, then call `train`.

    `stop_file` is looked for on rank 0 before each step: once it exists, all ranks save, remove it and return. `report`
    is called on rank 0 with each line of metrics.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: np.ndarray,
        team: Team,
        *,
        checkpoints: Checkpoints,
        stop_file: Path | None = None,
        report: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        # Set before CUDA starts; without it cuBLAS may add in another order each time, and a resume would drift.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        self._settings = settings
        self._team = team
        self._checkpoints = checkpoints
        self._stop_file = stop_file
        self._report = report
        self._corpus = Corpus(tokens, settings.context, settings.seed)
        randomness.seed(settings.seed)  # the same weights on every rank
        self._bare = Llama(settings.model, settings.dropout).to(team.device)
        self._optimizer = _optimizer(self._bare, settings)
        self._autocast = _autocast(settings.precision, team.device)
        randomness.seed(settings.seed + 1 + team.rank)  # other dropout on every rank
        self._step = 0
        self._position = 0  # sequences that the whole team has consumed
        self._eval_loss: float | None = None
        self.resumed_from = self._resume()
        self._unsaid = self.resumed_from
        self._model = team.wrap(self._bare)

    def train(self) -> Outcome:
        """Train to the last step, or until told to stop; a checkpoint of the last step is there when it returns."""
        settings, team = self._settings, self._team
        loss, saved = None, self._step if self.resumed_from is not None else -1
        since, tokens, stopped = time.perf_counter(), 0, False
        while self._step < settings.steps and not (stopped := self._asked_to_stop()):
            local = self._advance()
            tokens += settings.batch * settings.context * team.size
            last = self._step == settings.steps
            evaluated = last or self._step % settings.eval_every == 0
            if evaluated:
                self._eval_loss = self._evaluate()
            if last or self._step % settings.checkpoint_every == 0:
                self._save()
                saved = self._step
            if evaluated or self._step % settings.log_every == 0:  # last: a reported step is a saved one, if it is due
                loss = team.total(local.item())[0] / team.size
                now = time.perf_counter()
                self._log(loss, tokens / (now - since), evaluated=evaluated)
                since, tokens = now, 0
        if stopped:
            self._leave(saved=saved == self._step)
        return Outcome(step=self._step, loss=loss, eval_loss=self._eval_loss, stopped=stopped)

    def _advance(self) -> Tensor:
        """Take one step of the optimizer and return this rank's loss."""
        settings, team = self._settings, self._team
        first = self._position + team.rank * settings.batch
        loss = self._loss(self._model, self._corpus.sequences(first, settings.batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._bare.parameters(), _CLIP)
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate(self._step)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._step += 1
        self._position += settings.batch * team.size
        return loss.detach()

    def _loss(self, model: torch.nn.Module, sequences: Tensor) -> Tensor:
        sequences = sequences.to(self._team.device, non_blocking=True)
        with self._autocast:
            logits = model(sequences[:, :-1])
        return F.cross_entropy(logits.float().flatten(0, 1), sequences[:, 1:].flatten())

    @torch.no_grad()
    def _evaluate(self) -> float:
        """Return the loss on held-out text; draws no random number, so it does not disturb the run."""
        self._bare.eval()
        total, count = 0.0, 0
        mine = self._corpus.held_out(self._team.rank, self._team.size, _EVAL_SEQUENCES)
        for batch in mine.split(self._settings.batch):
            total += self._loss(self._bare, batch).item() * len(batch)
            count += len(batch)
        self._bare.train()
        total, number = self._team.total(total, count)
        return total / number

    def _asked_to_stop(self) -> bool:
        if self._stop_file is None:
            return False
        return self._team.total(float(self._team.first and self._stop_file.exists()))[0] > 0

    def _leave(self, *, saved: bool) -> None:
        """Save, and take the stop file away: that tells its maker that the last step is safe."""
        if not saved:
            self._save()
        if self._team.first and self._stop_file is not None:
            self._stop_file.unlink(missing_ok=True)

    def _log(self, loss: float, tokens_per_s: float, *, evaluated: bool) -> None:
        if not self._team.first:
            return
        line: dict[str, Any] = {
            "step": self._step,
            "total_steps": self._settings.steps,
            "loss": loss,
            "tokens_per_s": round(tokens_per_s, 1),
            "learning_rate": self._settings.rate(self._step - 1),
            "tokens": self._position * self._settings.context,
        }
        if evaluated:
            line["eval_loss"] = self._eval_loss
        if self._unsaid is not None:
            line["resumed_from"], self._unsaid = self._unsaid, None
        self._report(line)

    def _save(self) -> None:
        generators = self._team.collect(randomness.state())
        if self._team.first:
            state = {
                "step": self._step,
                "position": self._position,
                "eval_loss": self._eval_loss,
                "model": self._bare.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "generators": generators,
            }
            self._checkpoints.save(self._step, state, self._settings.as_dict())

    def _resume(self) -> int | None:
        """Take up the newest whole checkpoint, which rank 0 reads for all; return its step."""
        found = self._team.told(self._checkpoints.newest() if self._team.first else None)
        if found is None:
            return None
        changes = compare(found.settings, self._settings)
        if changes and self._team.first:
            self._checkpoints.say(f"resuming with other settings, so not exactly: {'; '.join(changes)}")
        state = found.load()
        self._bare.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._position, self._eval_loss = state["step"], state["position"], state["eval_loss"]
        if len(state["generators"]) == self._team.size:
            randomness.restore(state["generators"][self._team.rank])
        return found.step


def _optimizer(model: Llama, settings: Settings) -> torch.optim.AdamW:
    """Return AdamW that decays the matrices; norms, which scale, are left alone."""
    weights = list(model.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [weight for weight in weights if weight.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95), fused=True)


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    wanted = precision == "bf16" or (precision == "auto" and _computes_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def _computes_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 in hardware; emulated, it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
