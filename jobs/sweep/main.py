"""The driver: trials over the learning rate, bad ones ended early, the best to sweep.json."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator
from train_lm import options as train_options
from train_lm.contract import Place, write_json
from train_lm.data import prepare
from train_lm.errors import UsageProblem

from sweep.progress import Progress
from sweep.trial import METRIC, TIME, Study, train

_RESULT = "sweep.json"
# Ray Tune's own settings, where the user has set none.
_DEFAULTS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no TensorBoard and CSV beside the JSON that Tune itself reads
    "TUNE_GLOBAL_CHECKPOINT_S": "5",  # seconds; how much of the trials' bookkeeping a crash may lose
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # trials stay in the job's working directory
}


def main(arguments: list[str] | None = None) -> int:
    """Run the sweep, or go on with it; return the exit code: 0 done, 1 every trial failed, 2 a wrong setting."""
    own, rest = _parser().parse_known_args(arguments)
    base = train_options.parser()
    base.set_defaults(steps=200, batch=4, eval_every=25, workers=1)
    options = base.parse_args(rest)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    place = Place.of(os.environ)
    if options.workers != 1:
        base.error("a trial has one worker: leave --workers out; trials run side by side instead")
    try:
        prepared = prepare(place.checkpoints / "data", options.text, options.vocab_size)
        study = Study(train_options.settings(options, prepared), place)
    except UsageProblem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    ray.init(logging_level=logging.WARNING)
    try:
        trainable = tune.with_resources(
            tune.with_parameters(train, study=study, tokens=prepared.tokens),
            {"CPU": options.cpus_per_worker, "GPU": 1 if _gpus(options.device) else 0},
        )
        results = _tuner(own, study, trainable).fit()
    finally:
        ray.shutdown()
    return _conclude(results, place.outputs / _RESULT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweep",
        description="Find the learning rate. All options of train_lm are taken too (python -m train_lm --help).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--lowest", type=float, default=5e-4, help="learning rates are drawn log-uniformly from here")
    parser.add_argument("--highest", type=float, default=2e-2, help="to here")
    parser.add_argument("--grace", type=int, default=50, help="steps before a trial may be ended")
    parser.add_argument("--keep-one-in", type=int, default=2, help="trials that go on at each halving")
    return parser


def _gpus(device: str) -> bool:
    return device == "gpu" or (device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1)


def _tuner(own: argparse.Namespace, study: Study, trainable: Any) -> tune.Tuner:
    """Return the tuner of this sweep: the interrupted one where the checkpoint folder holds it."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    storage = study.place.checkpoints / "tune"
    path = str(storage / "sweep")
    if tune.Tuner.can_restore(path):
        print("resumed the sweep: finished trials are kept, unfinished ones go on")
        return tune.Tuner.restore(path, trainable=trainable, resume_unfinished=True, resume_errored=True)
    steps = study.base.steps
    return tune.Tuner(
        trainable,
        param_space={"learning_rate": tune.loguniform(own.lowest, own.highest)},
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="min",
            num_samples=own.trials,
            search_alg=BasicVariantGenerator(random_state=study.base.seed),
            scheduler=ASHAScheduler(
                time_attr=TIME, max_t=steps, grace_period=min(own.grace, steps), reduction_factor=own.keep_one_in
            ),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(storage),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=2),
            callbacks=[Progress(study.place, own.trials), JsonLoggerCallback()],
        ),
    )


def _conclude(results: tune.ResultGrid, path: Path) -> int:
    """Write all trials, the best first; return the exit code."""
    ended = [result for result in results if not result.error and result.metrics]
    trials = [
        {
            "trial": result.metrics["trial_id"],
            "config": result.config,
            TIME: result.metrics[TIME],
            METRIC: result.metrics[METRIC],
        }
        for result in ended
    ]
    trials.sort(key=lambda trial: trial[METRIC])
    if not trials:
        print("error: every trial failed; the first one's error is above", file=sys.stderr)
        return 1
    write_json(path, {"metric": METRIC, "best": trials[0], "trials": trials, "failed": len(results) - len(ended)})
    best = trials[0]
    print(f"best of {len(trials)}: learning rate {best['config']['learning_rate']:.2e}, held out {best[METRIC]:.4f}")
    return 0
