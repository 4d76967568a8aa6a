"""What vLLM 0.29 said of tiny models of many architectures (vllm_truth.py wrote it), and how the planner reads them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from raysvc.planner.architecture import Architecture
from raysvc.planner.checkpoint import load
from raysvc.planner.config import Config
from raysvc.planner.describe import describe
from raysvc.planner.estimate import estimate
from raysvc.planner.kv import Cache, CacheRules, build_cache
from raysvc.planner.quantization import read_quantization
from raysvc.planner.weights import Split, Weights
from tests.unit.planner.checkpoint import parse

PATH = Path(__file__).with_name("vllm_0_29.json")
SPLITS = {"tp1 pp1": Split(1, 1), "tp2 pp1": Split(2, 1), "tp1 pp2": Split(1, 2)}
# What vllm_truth.py gives the engine.
MAX_MODEL_LEN, BLOCK, KV_BUDGET = 2048, 16, 64 << 20


@cache
def golden() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(PATH.read_text())
    return found


def architecture(name: str) -> Architecture:
    return describe(Config(name, golden()[name]["config"]))


def loaded(name: str) -> Weights | None:
    """Return the weights of the checkpoint that transformers saved; None for models it does not save."""
    entry = golden()[name]
    if entry["checkpoint"] is None:
        return None
    return load(architecture(name), read_quantization(Config(name, entry["config"])), parse(entry["checkpoint"]))


def estimated(name: str) -> Weights:
    return estimate(architecture(name), read_quantization(Config(name, golden()[name]["config"])))


def cache_of(name: str, split: Split) -> Cache:
    rules = CacheRules(
        tp=split.tp,
        block=BLOCK,
        element_bytes=2,
        kv_dtype="auto",
        in_flight=MAX_MODEL_LEN * split.pp,
        state_blocks=2,
    )
    return build_cache(architecture(name), rules, split.pp)
