"""The driver: settings from the command line, training on the cluster, the finished model to the output folder."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

import ray

from train_lm import export
from train_lm.checkpoint import Checkpoints
from train_lm.contract import MetricsFollower, Place, write_file
from train_lm.data import Prepared, prepare
from train_lm.errors import UsageProblem
from train_lm.generate import Sampling, complete
from train_lm.launch import Workers, launch
from train_lm.model import Llama
from train_lm.options import parser, settings
from train_lm.settings import Settings, compare
from train_lm.stop import Stopper, in_background

_PROMPTS = ("The following", "A class is", "If the value", "The import statement")


def main(arguments: list[str] | None = None) -> int:
    """Train, export, sample; return the exit code: 0 done, 2 a wrong setting, 128 + n after signal n."""
    options = parser().parse_args(arguments)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    place = Place.of(os.environ)
    workers = Workers(cpus=options.cpus_per_worker, device=options.device, restarts=options.restarts)
    try:
        prepared = prepare(place.checkpoints / "data", options.text, options.vocab_size)
        run = settings(options, prepared)
        print(f"attempt {place.attempt}: {prepared.documents:,} documents, {len(prepared.tokens):,} tokens")
        _train(run, prepared, place, workers)
        _finish(run, prepared, place)
    except UsageProblem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


def _train(run: Settings, prepared: Prepared, place: Place, workers: Workers) -> None:
    """Bring the run to its last step; a signal ends the process."""
    found = Checkpoints(place.checkpoints).newest()
    if found is not None:
        compare(found.settings, run)
        if found.step >= run.steps:
            print(f"resumed from step {found.step}: nothing is left to train")
            return
    ray.init(logging_level=logging.WARNING)
    stopper = Stopper(place.checkpoints / f".stop-{place.attempt}-{os.getpid()}")
    stopper.install()  # after ray.init, which installs a handler of its own
    follower = MetricsFollower(place)
    try:
        result = in_background(lambda: launch(run, prepared, place, workers, stopper.file))
        stopper.wait(result, tick=lambda: _print_progress(follower))
        stopper.leave_if_told()
        result.result()
    finally:
        stopper.close()
        ray.shutdown()


def _print_progress(follower: MetricsFollower) -> None:
    for line in follower.read():
        if "resumed_from" in line:
            print(f"resumed from step {line['resumed_from']}")
        print(describe(line))


def describe(line: dict[str, Any]) -> str:
    """Return a line of metrics as a person reads it."""
    text = (
        f"step {line['step']:>5}/{line['total_steps']}  loss {line['loss']:.4f}  {line['tokens_per_s']:,.0f} tokens/s"
    )
    return text + (f"  held out {line['eval_loss']:.4f}" if "eval_loss" in line else "")


def _finish(run: Settings, prepared: Prepared, place: Place) -> None:
    """Write the model and samples from the last checkpoint."""
    last = Checkpoints(place.checkpoints).newest()
    if last is None:
        message = f"The run ended, but {place.checkpoints} holds no whole checkpoint: is the disk full or not shared?"
        raise UsageProblem(message)
    state = last.load()
    model = Llama(run.model)
    model.load_state_dict(state["model"])
    model.eval()
    folder = place.outputs / "model"
    export.save(folder, model, prepared.tokenizer)
    _sample(model, prepared, place.outputs / "samples.txt", run.seed)
    print(f"done: {model.parameter_count():,} weights, held-out loss {state['eval_loss']:.4f}, model in {folder}")


def _sample(model: Llama, prepared: Prepared, path: Path, seed: int) -> None:
    sampling = Sampling(max_tokens=min(64, model.config.max_position_embeddings // 2), seed=seed)
    completions = complete(model, prepared.tokenizer, list(_PROMPTS), sampling)
    texts = [prompt + prepared.tokenizer.decode(ids) for prompt, ids in zip(_PROMPTS, completions, strict=True)]
    text = "\n\n----\n\n".join(texts) + "\n"
    write_file(path, text.encode())
    print(f"\n{text}")
