"""How far a sweep is, for the platform and for people."""

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from train_lm.contract import MetricsLog, Place

from sweep.trial import METRIC, TIME


class Progress(Callback):
    """Prints each evaluation; appends to metrics.jsonl after each trial: steps are trials, the loss is the best."""

    def __init__(self, place: Place, total: int) -> None:
        self._place = place
        self._total = total

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        del iteration, trials, info
        rate = trial.config["learning_rate"]
        print(f"trial {trial.trial_id}  learning rate {rate:.2e}  step {result[TIME]}  held out {result[METRIC]:.4f}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        del iteration, info
        ended = [other for other in trials if other is trial or other.status == Trial.TERMINATED]
        losses = [other.last_result[METRIC] for other in ended if METRIC in other.last_result]
        MetricsLog(self._place).append(step=len(ended), total_steps=self._total, loss=min(losses, default=None))
