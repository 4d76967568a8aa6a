"""How a checkpoint's linear weights are stored: read from `quantization_config`, as vLLM 0.29 reads it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from raysvc.planner.config import Config


@dataclass(frozen=True, slots=True)
class Scheme:
    """Bits per weight, and what scales cost.

    One scale of `scale_bytes` per `group` inputs of an output (0: per output; `block`: per block of outputs × inputs).
    `zero_bits`: a stored zero point beside each scale. `capability` is the least that can run it at all, `native` what
    runs it without unpacking to 16 bits (Marlin does the rest).
    """

    name: str
    bits: int = 16
    group: int = 0
    block: tuple[int, int] | None = None
    scale_bytes: int = 0
    zero_bits: int = 0
    capability: float = 7.0
    native: float = 7.0

    def linear_bytes(self, outputs: int, inputs: int) -> int:
        """Return the bytes of one weight matrix with its scales."""
        size = outputs * inputs * self.bits // 8
        if self.block is not None:
            return size + -(-outputs // self.block[0]) * -(-inputs // self.block[1]) * self.scale_bytes
        scales = outputs * -(-inputs // self.group) if self.group else outputs
        return size + scales * self.scale_bytes + scales * self.zero_bits // 8


PLAIN = Scheme("none")
FP8_ONLINE = Scheme("fp8 (while loading)", 8, scale_bytes=0, capability=7.5, native=8.9)
# Least compute capabilities: each method's `get_min_capability` in vllm/model_executor/layers/quantization.
_FP8 = Scheme("fp8", 8, scale_bytes=4, capability=7.5, native=8.9)
_INT8 = Scheme("int8", 8, scale_bytes=4, capability=7.5, native=7.5)
_MXFP4 = Scheme("mxfp4", 4, group=32, scale_bytes=1, capability=8.0, native=10.0)
_NVFP4 = Scheme("nvfp4", 4, group=16, scale_bytes=1, capability=7.5, native=10.0)


@dataclass(frozen=True, slots=True)
class Quantization:
    """The scheme of the linear layers, which of them it spares, and whether it is only for experts."""

    scheme: Scheme = PLAIN
    skipped: tuple[str, ...] = ()
    experts_only: bool = False
    head: bool = False
    targets: tuple[tuple[str, Scheme], ...] = ()

    @property
    def label(self) -> str:
        return self.scheme.name

    @property
    def quantized(self) -> bool:
        return self.scheme.bits < PLAIN.bits

    @property
    def layered(self) -> bool:
        """Whether some pattern may tell one layer from another."""
        return any(character.isdigit() for name in (*self.skipped, *dict(self.targets)) for character in name)

    def of(self, module: str) -> Scheme:
        """Return the scheme of a module by its name in the checkpoint, such as `model.layers.3.mlp.down_proj`."""
        if not self.quantized or (self.experts_only and ".experts" not in module):
            return PLAIN
        if module.endswith("lm_head") and not self.head:
            return PLAIN
        if any(_matches(pattern, module) for pattern in self.skipped):
            return PLAIN
        return next((scheme for pattern, scheme in self.targets if _matches(pattern, module)), self.scheme)


def read_quantization(config: Config) -> Quantization:  # noqa: PLR0911 one return a method
    """Return how the checkpoint is quantized. Raises Invalid for a method nobody here can size."""
    table = config.table("quantization_config", "compression_config")
    if not table:
        return Quantization()
    method = str(table.get("quant_method") or table.get("quant_algo") or "").lower().replace("_", "-")
    skipped = _skipped(table)
    if method.startswith("compressed"):
        return _compressed(config, table, skipped)
    if method.startswith("modelopt") or "quantization" in table or method in {"nvfp4", "nvfp4-awq"}:
        return _modelopt(config, table, skipped)
    if method in {"fp8", "fbgemm-fp8", "deepseek-v4-fp8"}:
        return Quantization(_fp8(table), skipped, targets=_expert_targets(config))
    if method in {"mxfp4", "gpt-oss-mxfp4"}:
        return Quantization(_MXFP4, skipped, experts_only=True)
    if method in {"awq", "awq-marlin", "gptq", "gptq-marlin", "auto-round", "auto-gptq"}:
        return Quantization(_grouped(config, table, method), skipped, head=bool(table.get("lm_head")))
    if method == "bitsandbytes":
        width = 8 if table.get("load_in_8bit") else 4
        return Quantization(Scheme(f"bitsandbytes int{width}", width, 64, scale_bytes=1, capability=7.0), skipped)
    bits: Any = table.get("bits") or table.get("num_bits")
    if isinstance(bits, int) and 1 <= bits <= 16:  # noqa: PLR2004 what a weight can have
        return Quantization(Scheme(method or f"int{bits}", bits, 128, scale_bytes=2, capability=8.0), skipped)
    raise config.invalid(f"is quantized by {method!r}, which this planner cannot size; give --weights-bytes", "model")


def _expert_targets(config: Config) -> tuple[tuple[str, Scheme], ...]:
    """Return DeepSeek-V4's scheme of experts: 4-bit unless it says otherwise (DeepseekV4FP8Config.expert_dtype)."""
    if config.model_type != "deepseek_v4" or (config.text_of("expert_dtype") or "fp4") != "fp4":
        return ()
    return ((r"re:.*\.experts\.", _MXFP4),)


def _fp8(table: Mapping[str, Any]) -> Scheme:
    block = table.get("weight_block_size")
    if isinstance(block, list) and len(block) == 2:  # noqa: PLR2004 outputs × inputs
        return Scheme("fp8", 8, block=(int(block[0]), int(block[1])), scale_bytes=4, capability=7.5, native=8.9)
    return _FP8


def _grouped(config: Config, table: Mapping[str, Any], method: str) -> Scheme:
    bits: Any = table.get("bits", table.get("w_bit", 4))
    group: Any = table.get("group_size", table.get("q_group_size", 128))
    if not isinstance(bits, int) or not isinstance(group, int):
        raise config.invalid(f"has bits {bits!r} and group_size {group!r} of {method}", "quantization_config")
    name = "awq" if "awq" in method else "gptq"
    # Both formats store a zero point per group: GPTQ's `qzeros` exist for symmetric checkpoints too.
    return Scheme(f"{name} int{bits}", bits, max(group, 0), scale_bytes=2, zero_bits=bits, capability=7.5, native=8.0)


def _compressed(config: Config, table: Mapping[str, Any], skipped: tuple[str, ...]) -> Quantization:
    """Read compressed-tensors: schemes per group of targets; `Linear` is everything, `re:…` some of it."""
    groups = table.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise config.invalid("has no config_groups in its compressed-tensors section", "quantization_config")
    found: list[tuple[str, Scheme]] = []
    for group in groups.values():
        scheme = _weights(group.get("weights") or {}, str(group.get("format") or table.get("format") or ""))
        found += [(str(target), scheme) for target in group.get("targets") or ("Linear",)]
    general = next((scheme for target, scheme in found if target == "Linear"), found[0][1])
    return Quantization(general, skipped, targets=tuple(pair for pair in found if pair[0] != "Linear"))


def _weights(weights: Mapping[str, Any], form: str) -> Scheme:
    bits, kind = int(weights.get("num_bits") or 16), weights.get("type")
    group = int(weights.get("group_size") or 0)
    block = weights.get("block_structure")
    if bits == 8 and kind == "float":  # noqa: PLR2004
        pair = (int(block[0]), int(block[1])) if isinstance(block, list) else None
        return Scheme("fp8", 8, block=pair, scale_bytes=4, capability=7.5, native=8.9)
    if bits == 4 and kind == "float":  # noqa: PLR2004
        return _MXFP4 if "mxfp4" in form else _NVFP4
    if bits == 8 and not group:  # noqa: PLR2004
        return _INT8
    zero = 0 if weights.get("symmetric", True) else bits
    return Scheme(f"int{bits}", bits, max(group, 0), scale_bytes=2, zero_bits=zero, capability=7.5, native=8.0)


def _modelopt(config: Config, table: Mapping[str, Any], skipped: tuple[str, ...]) -> Quantization:
    nested = table.get("quantization")
    inner = nested if isinstance(nested, Mapping) else table
    algorithm = str(inner.get("quant_algo") or table.get("quant_algo") or table.get("quant_method") or "").upper()
    skipped += tuple(map(str, inner.get("exclude_modules") or ()))
    if "FP4" in algorithm:
        return Quantization(_NVFP4, skipped)
    if "FP8" in algorithm or algorithm == "MODELOPT":
        return Quantization(_FP8, skipped)
    raise config.invalid(f"is quantized by ModelOpt's {algorithm}, which this planner cannot size", "model")


def _skipped(table: Mapping[str, Any]) -> tuple[str, ...]:
    names: list[str] = []
    for key in ("ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules"):
        value = table.get(key)
        names += [str(item) for item in value] if isinstance(value, list) else []
    return tuple(dict.fromkeys(names))


def _matches(pattern: str, module: str) -> bool:
    """Say whether a skip pattern names this module: a regular expression, a glob, a prefix or a part of its path."""
    if pattern.startswith("re:"):
        try:
            return re.match(pattern[3:], module) is not None
        except re.error:
            return False
    if "*" in pattern:
        return fnmatchcase(module, pattern) or fnmatchcase(module, pattern + ".*")
    return module == pattern or module.startswith(pattern + ".") or f".{pattern}." in f".{module}."
