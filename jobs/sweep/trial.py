"""One trial: train_lm's loop on one worker, reporting its held-out loss to Ray Tune."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ray import tune
from train_lm.checkpoint import Checkpoints
from train_lm.contract import Place
from train_lm.loop import Run
from train_lm.settings import Settings
from train_lm.team import Team

METRIC, TIME = "eval_loss", "step"


@dataclass(frozen=True)
class Study:
    """What all trials share: the run they vary, and where its files are."""

    base: Settings
    place: Place


def train(config: dict[str, Any], *, study: Study, tokens: np.ndarray) -> None:
    """Train with `config["learning_rate"]` in place of the base's.

    A trial keeps its own checkpoints, under its id, so one that a restart interrupts goes on at its last step.
    """
    name = tune.get_context().get_trial_id()
    settings = replace(study.base, learning_rate=config["learning_rate"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = Run(
        settings,
        tokens,
        Team(device=device),
        checkpoints=Checkpoints(study.place.checkpoints / "trials" / name, keep=1),
        report=_report_evaluations,
    )
    outcome = run.train()
    if run.resumed_from == settings.steps:  # it had ended before the restart: say so again, nothing else will
        tune.report({TIME: outcome.step, METRIC: outcome.eval_loss})


def _report_evaluations(line: dict[str, Any]) -> None:
    if METRIC in line:
        tune.report({TIME: line["step"], METRIC: line[METRIC], "loss": line["loss"]})
