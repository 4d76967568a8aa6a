"""The driver: shards that are not yet done through Ray Data, progress to metrics.jsonl."""

import argparse
import hashlib
import json
import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.data import ActorPoolStrategy
from train_lm import export
from train_lm.contract import MetricsLog, Place, write_json
from train_lm.errors import UsageProblem
from train_lm.generate import Sampling

from batch_infer.complete import Completer, Task
from batch_infer.prompts import BUILT_IN, cut, digest, read_prompts

_PLAN = "plan.json"


def main(arguments: list[str] | None = None) -> int:
    """Complete what is not yet completed; return the exit code: 0 done, 2 a wrong setting or input."""
    options = _parser().parse_args(arguments)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    place = Place.of(os.environ)
    sampling = Sampling(options.max_tokens, options.temperature, options.top_k, options.seed)
    try:
        prompts = read_prompts(options.prompts)
        task = Task(
            model=export.locate(options.model.absolute()),
            folder=place.outputs / "completions",
            form=options.form,
            batch=options.batch,
            sampling=sampling,
        )
        _keep_plan(task, {"prompts": digest(prompts), "shard_size": options.shard_size})
    except UsageProblem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    shards = cut(prompts, options.shard_size)
    waiting = [shard for shard in shards if not task.path(shard["shard"]).exists()]
    print(f"{len(prompts):,} prompts in {len(shards)} shards, {len(shards) - len(waiting)} of them done already")
    if waiting:
        _run(task, waiting, options, place, total=len(shards))
    print(f"done: {task.folder}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m batch_infer",
        description="Complete prompts with a model that train_lm wrote. A restart skips the shards that are done.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="a model's folder, or a train_lm job's output folder")
    parser.add_argument("--prompts", default=BUILT_IN, help="a .jsonl, .parquet or text file, or 'built-in'")
    parser.add_argument("--form", choices=("jsonl", "parquet"), default="jsonl", help="of the output")
    parser.add_argument("--shard-size", type=_count, default=64, help="prompts a shard: what a restart may repeat")
    parser.add_argument("--batch", type=_count, default=16, help="prompts at once")
    parser.add_argument("--max-tokens", type=_count, default=64)
    parser.add_argument("--temperature", type=float, default=0.8, help="0: the likeliest token")
    parser.add_argument("--top-k", type=int, default=40, help="0: from all tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=_count, default=2)
    parser.add_argument("--cpus-per-worker", type=float, default=1.0)
    parser.add_argument("--gpu", action="store_true", help="a GPU for each worker")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _keep_plan(task: Task, inputs: dict[str, Any]) -> None:
    """Note what the completions are of; raises UsageProblem where the folder holds those of something else.

    Else a restart after a change would mix two kinds of completions without a word.
    """
    with (task.model / "model.safetensors").open("rb") as file:
        model = hashlib.file_digest(file, "sha256").hexdigest()
    plan = {**inputs, "model": model, "form": task.form, "batch": task.batch, "sampling": asdict(task.sampling)}
    path = task.folder / _PLAN
    task.folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_json(path, plan)
    kept = json.loads(path.read_text())
    changed = [key for key, value in plan.items() if kept.get(key) != value]
    if changed:
        message = f"{task.folder} holds completions made with another {', '.join(changed)}: use another output folder."
        raise UsageProblem(message)


def _run(task: Task, waiting: list[dict[str, Any]], options: argparse.Namespace, place: Place, total: int) -> None:
    """Complete the waiting shards; blocks."""
    ray.init(logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    log = MetricsLog(place)
    results = ray.data.from_items(waiting, override_num_blocks=len(waiting)).map(
        Completer,
        fn_constructor_args=(task,),
        compute=ActorPoolStrategy(size=min(options.workers, len(waiting))),
        num_cpus=options.cpus_per_worker,
        num_gpus=1 if options.gpu else 0,
    )
    began, tokens = time.perf_counter(), 0
    try:
        for done, row in enumerate(results.iter_rows(), start=total - len(waiting) + 1):
            tokens += row["tokens"]
            rate = tokens / (time.perf_counter() - began)
            log.append(step=done, total_steps=total, tokens=tokens, tokens_per_s=round(rate, 1), shard=row["shard"])
            print(f"shard {row['shard']} done, {done}/{total}: {row['prompts']} prompts, {rate:,.0f} tokens/s in all")
    finally:
        ray.shutdown()
