"""Runs the loop on a Ray cluster: Ray Train starts the workers, and again after one is lost."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train.torch
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig

from train_lm.checkpoint import Checkpoints
from train_lm.contract import WORKERS, MetricsLog, Place, write_json
from train_lm.data import Prepared
from train_lm.loop import Outcome, Run
from train_lm.settings import Settings
from train_lm.team import Team

# Ray Train's own settings, where the user has set none.
_DEFAULTS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a lost worker is noticed in half a second rather than two
    "RAY_TRAIN_METRICS_ENABLED": "0",  # ours go to metrics.jsonl
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # an actor more to start; a drained node is met by the restart
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # else what a worker prints appears twice
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # workers stay in the job's working directory
}


@dataclass(frozen=True)
class Workers:
    """What each worker gets, and how many times the group is started again. `device`: auto, cpu or gpu."""

    cpus: float = 1.0
    device: str = "auto"
    restarts: int = 3

    def with_gpu(self, count: int) -> bool:
        """Return whether each of `count` workers gets a GPU; auto: if the cluster has that many now."""
        if self.device == "auto":
            return float(ray.cluster_resources().get("GPU", 0)) >= count
        return self.device == "gpu"


def launch(settings: Settings, prepared: Prepared, place: Place, workers: Workers, stop_file: Path) -> Outcome:
    """Train on the cluster until done or stopped; blocks. Raises Ray Train's TrainingFailedError past `restarts`."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    gpu = workers.with_gpu(settings.workers)
    own = place.checkpoints / "ray-train"  # Ray's bookkeeping; nothing in it is needed by a later attempt
    trainer = ray.train.torch.TorchTrainer(
        _work,
        train_loop_config={
            "settings": settings,
            "tokens": ray.put(prepared.tokens),
            "place": place,
            "stop_file": stop_file,
        },
        scaling_config=ScalingConfig(
            num_workers=settings.workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": workers.cpus, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            name=f"attempt-{place.attempt}",
            storage_path=str(own),
            failure_config=FailureConfig(max_failures=workers.restarts),
            callbacks=[_Recovery()],
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        outcome: Outcome = trainer.fit().return_value  # of rank 0
        return outcome
    finally:
        shutil.rmtree(own, ignore_errors=True)


class _Recovery(ray.train.UserCallback):
    """Says in the job's log what the traceback above it means."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        del run_context
        ranks = ", ".join(map(str, sorted(worker_exceptions)))
        print(f"lost workers {ranks}: all start again from the newest checkpoint, if a restart is left")


def _work(config: dict[str, Any]) -> Outcome:
    """Be one worker: Ray Train calls it in each, after the process group is up.

    Nothing goes through ray.train.report: it waits until Ray Train polls, and the checkpoints are ours.
    """
    settings, place = config["settings"], config["place"]
    context = ray.train.get_context()
    team = Team(
        rank=context.get_world_rank(),
        size=context.get_world_size(),
        device=str(ray.train.torch.get_device()),
        node=ray.get_runtime_context().get_node_id(),
    )
    log = MetricsLog(place) if team.first else None
    run = Run(
        settings,
        ray.get(config["tokens"]),
        team,
        checkpoints=Checkpoints(place.checkpoints, keep=settings.keep),
        stop_file=config["stop_file"],
        report=lambda line: log.append(**line) if log else None,
    )
    cards = team.collect(team.card())
    if log is not None:
        about = {"attempt": place.attempt, "resumed_from": run.resumed_from, "workers": cards}
        write_json(place.outputs / WORKERS, about)
    return run.train()
