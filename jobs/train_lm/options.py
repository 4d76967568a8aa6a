"""The command line of train_lm, and the settings it makes."""

import argparse
import math
from dataclasses import fields
from typing import TypeVar

from train_lm.data import PYTHON_DOCS, Prepared
from train_lm.errors import UsageProblem
from train_lm.model import ModelConfig
from train_lm.settings import PRESETS, Settings, feed_forward_width

N = TypeVar("N", int, float)


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="python -m train_lm",
        description="Train a small Llama on text, on a Ray cluster. Resumes from RAYSVC_CHECKPOINT_DIR by itself.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    text = root.add_argument_group("text")
    text.add_argument("--text", default=PYTHON_DOCS, help="'pydoc', a file or folder, an http(s):// or s3:// URI")
    text.add_argument("--vocab-size", type=_count, default=2048, help="tokens of the byte-level BPE, at most")
    model = root.add_argument_group("model")
    model.add_argument("--preset", choices=PRESETS, default="tiny", help="a shape; the options below change it")
    for name in ("layers", "width", "heads", "kv-heads", "feed-forward"):
        model.add_argument(f"--{name}", type=_count, default=argparse.SUPPRESS, help="instead of the preset's")
    model.add_argument("--tied", action=argparse.BooleanOptionalAction, help="one matrix embeds and unembeds")
    model.add_argument("--context", type=_count, default=256, help="tokens a sequence, and the model's limit")
    run = root.add_argument_group("training")
    run.add_argument("--steps", type=_count, default=600)
    run.add_argument("--batch", type=_count, default=2, help="sequences per worker and step")
    run.add_argument("--learning-rate", type=_share, default=3e-3, help="the peak, after the warm-up")
    run.add_argument("--final-learning-rate", type=_share, default=0.1, help="share of the peak at the end")
    run.add_argument("--warmup", type=_whole, default=20, help="steps")
    run.add_argument("--weight-decay", type=_share, default=0.1)
    run.add_argument("--dropout", type=_share, default=0.0)
    run.add_argument("--seed", type=_whole, default=0)
    run.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 where native")
    run.add_argument("--log-every", type=_count, default=5, help="steps")
    run.add_argument("--eval-every", type=_count, default=100, help="steps")
    run.add_argument("--checkpoint-every", type=_count, default=25, help="steps")
    run.add_argument("--keep", type=_count, default=3, help="checkpoints")
    place = root.add_argument_group("cluster")
    place.add_argument("--workers", type=_count, default=2)
    place.add_argument("--cpus-per-worker", type=float, default=1.0, help="Ray's CPUs, and threads")
    place.add_argument(
        "--device", choices=("auto", "cpu", "gpu"), default="auto", help="auto: a GPU each, if there are"
    )
    place.add_argument("--restarts", type=_whole, default=3, help="of the workers within one attempt, after losing one")
    return root


def settings(options: argparse.Namespace, prepared: Prepared) -> Settings:
    """Return the run that the options describe on this text. Raises UsageProblem for a model that cannot be built."""
    preset, given = PRESETS[options.preset], vars(options)
    width, heads = given.get("width", preset.width), given.get("heads", preset.heads)
    if width % heads:
        message = f"--width {width} is not a multiple of --heads {heads}."
        raise UsageProblem(message)
    model = ModelConfig(
        vocab_size=prepared.tokenizer.get_vocab_size(),
        hidden_size=width,
        intermediate_size=given.get("feed_forward", feed_forward_width(width)),
        num_hidden_layers=given.get("layers", preset.layers),
        num_attention_heads=heads,
        num_key_value_heads=given.get("kv_heads", preset.kv_heads),
        head_dim=width // heads,
        max_position_embeddings=options.context,
        tie_word_embeddings=preset.tied if options.tied is None else options.tied,
    )
    same_name = {field.name: given[field.name] for field in fields(Settings) if field.name in given}
    return Settings(model=model, data=prepared.digest, **same_name)


def _whole(text: str) -> int:
    return _within(int(text), 0, math.inf)


def _count(text: str) -> int:
    return _within(int(text), 1, math.inf)


def _share(text: str) -> float:
    return _within(float(text), 0.0, 1.0)


def _within(number: N, least: float, most: float) -> N:
    if not least <= number <= most:
        message = f"{number} is not from {least:g} to {most:g}"
        raise argparse.ArgumentTypeError(message)
    return number
